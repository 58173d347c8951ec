"""Read a node, pack what is new, write the packs, maps and manifest of its snapshot."""
