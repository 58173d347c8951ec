"""Metadata in SQLite or PostgreSQL: functions over one open transaction that speak the domain's words."""
