"""The work on one node, which joins PostgreSQL and the repository: capture, restore, and their worker processes."""
