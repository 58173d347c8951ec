"""Commands on the data directory of this host."""
