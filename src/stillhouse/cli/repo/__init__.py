"""Commands on a repository alone, without a service."""
