"""Clusters of PostgreSQL servers that we make ourselves, and their wiring."""
