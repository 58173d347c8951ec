"""The OpenAPI document, and the operations that the DWS API is published with."""
