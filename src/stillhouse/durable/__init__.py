"""Durable flows, which outlive the process: a small port over the workflow engine, which only this package imports."""
