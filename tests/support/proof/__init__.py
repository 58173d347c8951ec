"""The proof that a clone equals its source while both run: rows, sequences and definitions."""
