"""One module per resource: the bodies of its requests and answers, and how it is shown as JSON."""
