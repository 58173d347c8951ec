"""One sentence for each field of the API, for the OpenAPI document."""
