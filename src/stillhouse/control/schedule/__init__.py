"""Snapshot policies, and the snapshots that they are due."""
