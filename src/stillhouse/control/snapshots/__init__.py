"""Requests and flows for snapshots, from the pins to the trash."""
