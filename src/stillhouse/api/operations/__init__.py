"""One module per resource: its routes, and the calls that they make."""
