"""Requests and flows for clusters, and their settings, tags and accounts."""
