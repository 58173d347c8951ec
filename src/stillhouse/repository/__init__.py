"""Packs, maps, manifests and roots: sealed bytes in an object store. The law is docs/format.md."""
