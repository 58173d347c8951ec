"""PostgreSQL servers of every version under test."""
