"""A node's work in a process of its own."""
