"""The domain: its types and pure decisions. This package does no I/O and imports only the errors."""
