"""Read a repository and tell what is damaged, and what that costs."""
