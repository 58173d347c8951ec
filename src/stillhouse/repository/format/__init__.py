"""docs/format.md in code: packs, maps, manifests, roots, keys."""
