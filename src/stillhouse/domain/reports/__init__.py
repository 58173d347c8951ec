"""Facts that the lower layers report: operations, captures, events, damage, and the contents of databases."""
