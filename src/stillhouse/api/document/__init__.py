"""The OpenAPI document, and the descriptions of its fields."""
