"""Restores: of clusters, of single tables, and with the bucket alone."""
