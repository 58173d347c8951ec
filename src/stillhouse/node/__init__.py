"""One node's work, where bytes and databases meet: capture and restore."""
