"""A restored cluster, from its quarantined first start to its release."""
