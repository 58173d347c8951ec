"""Requests for proofs, and the flow that proves a snapshot."""
