"""The workflow engine's tables, which hold the flows that have not ended, and the version that works on them."""

from importlib.metadata import version

ENGINE = f"dbos {version('dbos')}"

SCHEMA = "dbos"
"""Their schema on PostgreSQL; SQLite has none."""

# `dbos/_schemas/system_database.py` of dbos 3.4. The first is the one that others refer to. `dbos_migrations` is not
# among them: the engine writes it where it makes the tables. Nor is `event_dispatch_kv`, which only PostgreSQL has: it
# belongs to events from outside, and we have none.
TABLES = (
    "workflow_status",
    "workflow_input",
    "workflow_output",
    "operation_outputs",
    "notifications",
    "workflow_events",
    "workflow_events_history",
    "streams",
    "workflow_schedules",
    "application_versions",
    "queues",
)
