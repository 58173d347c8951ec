"""Packs, maps, manifests and roots: sealed bytes in an object store. The format is defined in docs/format.md."""
