"""Sessions on a server, and what may impose on them: settings, roles, triggers."""
