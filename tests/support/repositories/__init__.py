"""Repositories made without a server, damages of them, and a second reader of the format."""
