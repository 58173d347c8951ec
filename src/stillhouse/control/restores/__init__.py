"""Restores of clusters, of tables, and without a service."""
