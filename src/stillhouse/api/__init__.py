"""The HTTP API of DWS, which no lower package knows: paths, JSON, signatures, error codes."""
