"""The DWS dialect: paths, JSON, signatures, error codes. Nothing below knows of them."""
