"""Consistent snapshots of PostgreSQL-family warehouse clusters, behind the DWS snapshot API."""

__version__ = "0.1.0"
