"""Durable flows, which outlive the process: a small port over the workflow engine. Only this package imports DBOS."""
