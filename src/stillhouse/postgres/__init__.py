"""One PostgreSQL server: its life cycle, files, WAL and sessions. This package knows nothing of the store."""
