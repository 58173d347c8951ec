"""A data directory as PostgreSQL lays it out, read as its owner's."""
