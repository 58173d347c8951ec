"""The catalog as a whole: whose it is, which service works on it, and how it moves to another database."""
