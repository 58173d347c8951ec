"""Packs, maps, manifests and roots: sealed bytes in an object store, in the format of docs/format.md."""
