"""One module per resource: the bodies of its requests and answers."""
