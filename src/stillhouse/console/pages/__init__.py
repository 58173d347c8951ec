"""The pages: each reads from `control` the values that its template shows."""
