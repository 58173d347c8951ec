"""Rows about the soundness of the repository and its snapshots: findings, scrubs, proofs."""
