"""A visitor of the console, by plain requests."""
