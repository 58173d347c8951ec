"""Snapshot policies, and the automated snapshots that fall due by them."""
