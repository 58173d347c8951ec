"""How commands take settings and arguments, and print."""
