"""Data directories and WAL made by hand, without a server."""
