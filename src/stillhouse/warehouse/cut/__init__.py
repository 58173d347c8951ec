"""One restore point on every node, and the witnesses that prove it."""
