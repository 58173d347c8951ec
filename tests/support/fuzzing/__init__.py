"""Generated requests against the API."""
