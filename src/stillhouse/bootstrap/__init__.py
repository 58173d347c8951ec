"""Composition roots: the one place that picks implementations, and puts together a service, or the catalog alone."""
