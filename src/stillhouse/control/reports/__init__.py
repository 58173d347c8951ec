"""Answers about the state of the service: progress, jobs, capacity, readiness."""
