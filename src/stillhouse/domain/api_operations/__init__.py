"""The operations of the API: id, method, path, the permission that each needs, and how it stands with it."""
