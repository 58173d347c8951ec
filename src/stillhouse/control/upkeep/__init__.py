"""Upkeep of the repository and the nodes: collection, scrub, removal of slots, and a lost catalog's rebuild."""
