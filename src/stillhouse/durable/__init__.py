"""Flows that outlive the process: a small port over the workflow engine (DBOS), which nobody else imports."""
