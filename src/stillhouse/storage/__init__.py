"""Object stores: where bytes rest. Knows nothing of databases or of what the bytes mean."""
