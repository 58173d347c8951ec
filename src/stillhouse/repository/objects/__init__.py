"""The small objects beside packs: pins, marks, roots, findings."""
