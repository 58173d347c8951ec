"""Between the socket and an operation: signatures, bodies, limits, errors in the DWS shape."""
