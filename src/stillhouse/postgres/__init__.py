"""One PostgreSQL server: its life cycle, files, WAL and sessions, without any knowledge of the store."""
