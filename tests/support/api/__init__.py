"""Callers of the API, the application that they call, and the answers that they expect."""
