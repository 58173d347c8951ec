"""Clusters whose servers are somebody's: how they are written, and how a check-up of them is told."""
