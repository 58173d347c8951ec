"""The domain's types and pure decisions, without I/O or any import but the errors."""
