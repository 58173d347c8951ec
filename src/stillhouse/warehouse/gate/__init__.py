"""Keep distributed writes out while a cut is taken."""
