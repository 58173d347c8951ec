"""Metadata in SQLite or PostgreSQL: functions that take an open transaction and use the domain's types."""
