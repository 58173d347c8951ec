"""Contents of databases: odd kinds of tables, hostile settings, writers at work."""
