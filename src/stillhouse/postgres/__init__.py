"""One PostgreSQL server: its life cycle, its files, its WAL, its sessions. Knows no storage."""
