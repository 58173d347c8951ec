"""Object stores: where bytes rest, without any knowledge of databases or of what the bytes mean."""
