"""Requests and flows for snapshots: taking, copying, waiting for their turn, and the trash."""
