"""Facts that are reported: operations, captures, events, damage, contents of databases, and the size of the host."""
