"""Run by Alembic: migrates over the caller's connection, in the caller's transaction."""

from alembic import context

from stillhouse.catalog.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a table in place; Alembic then copies it.
    render_as_batch=True,
    version_table="sh_migrations",
)
context.run_migrations()
