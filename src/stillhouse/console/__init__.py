"""The web console: pages for people, over the same use cases and permissions as the API."""
