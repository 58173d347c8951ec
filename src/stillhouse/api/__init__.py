"""The DWS dialect, which nothing below knows: paths, JSON, signatures, error codes."""
