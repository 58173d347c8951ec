"""The tables of the catalog, and the database that they are in."""
