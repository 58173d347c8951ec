"""Use cases and flows: the only place that knows the order of things."""
