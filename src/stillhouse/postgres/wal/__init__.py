"""Base backups, WAL and its summaries, slots, timelines."""
