"""The HTTP API of DWS: paths, JSON, signatures, error codes. No lower package knows of them."""
