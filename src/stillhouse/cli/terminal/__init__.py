"""How commands take arguments and print."""
