"""Readers of a node's files: one that opens them on this host, and one that asks the server for their bytes."""
