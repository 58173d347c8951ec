"""Use cases and flows: the only package that decides the order of steps over all others."""
