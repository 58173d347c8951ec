"""Tables of access keys, users, tokens, sessions, permissions, sealed secrets, and the audit."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from stillhouse.catalog.schema.columns import Document, UtcTime, metadata, one_per, required

access_keys = Table(
    "sh_access_keys",
    metadata,
    Column("access_key", Text, primary_key=True),
    required("sealed_secret"),
    required("project"),
    required("created", UtcTime),
    Column("disabled", UtcTime),
    required("policies", Document),
    Column("expires", UtcTime),
)

temporary_keys = Table(
    "sh_temporary_keys",
    metadata,
    Column("access_key", Text, primary_key=True),
    required("sealed_secret"),
    required("token_digest"),
    required("project"),
    # An access key or a user's id. Keys made by it end with it.
    required("parent"),
    required("narrowed_to", Document),
    required("created", UtcTime),
    required("expires", UtcTime),
)

users = Table(
    "sh_users",
    metadata,
    Column("id", Text, primary_key=True),
    required("project"),
    required("name"),
    required("password_hash"),
    required("policies", Document),
    required("created", UtcTime),
    Column("disabled", UtcTime),
)

tokens = Table(
    "sh_tokens",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("user_id", Text, ForeignKey(users.c.id), nullable=False),
    required("issued", UtcTime),
    required("expires", UtcTime),
)

# Failures in a row, of callers who did not show who they are. `subject` is a digest of the name and the sender.
lockouts = Table(
    "sh_lockouts",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    required("failures", Integer),
    required("last", UtcTime),
    Column("locked_until", UtcTime),
)
Index("ix_sh_lockouts_last", lockouts.c.kind, lockouts.c.last)

console_sessions = Table(
    "sh_console_sessions",
    metadata,
    Column("digest", Text, primary_key=True),
    # An access key or a user's id. The session ends with it.
    required("subject"),
    required("begun", UtcTime),
    required("seen", UtcTime),
)

permission_policies = Table(
    "sh_permission_policies",
    metadata,
    Column("name", Text, primary_key=True),
    required("document", Document),
    required("created", UtcTime),
)

sealed_secrets = Table(
    "sh_sealed_secrets",
    metadata,
    Column("key", Text, primary_key=True),
    required("sealed"),
    required("created", UtcTime),
)

audit = Table(
    "sh_audit",
    metadata,
    # SQLite numbers rows by itself only in a column declared exactly INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    required("time", UtcTime),
    required("project"),
    required("access_key"),
    required("action"),
    required("resource"),
    required("outcome"),
    required("request_id"),
    required("detail"),
)

user_name = one_per("uq_sh_users_name", users.c.project, users.c.name, among="disabled IS NULL")
Index("ix_sh_audit_project_time", audit.c.project, audit.c.time)
