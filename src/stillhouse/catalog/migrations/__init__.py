"""The migrations of the schema, step by step; run by `Database.migrate` through Alembic."""
