"""Descriptions of the fields and parameters of registrations and check-ups."""

TERMS: dict[str, tuple[str, str]] = {
    "hosts": (
        "HOST:PORT of the server; of several, the one that can be written to is meant",
        '["db.example.org:5432"]',
    ),
    "known_as": (
        "Addresses in the coordinator's foreign servers, if they are others than hosts",
        '["10.0.0.11:5432"]',
    ),
    "ServerToRegister.role": ("The role that the service logs in as", '"stillhouse_backup"'),
    "Connections.role": ("The role that the service logs in as", '"stillhouse_backup"'),
    "ClusterToRegister.role": ("The role that the service logs in as", '"stillhouse_backup"'),
    "ServerToRegister.password": ("The role's password, which is kept sealed", '"secret"'),
    "Connections.password": ("The role's password, which is kept sealed", '"secret"'),
    "ClusterToRegister.password": ("The role's password, which is kept sealed", '"secret"'),
    "tls": ("disable, require, verify-ca or verify-full", '"verify-full"'),
    "ca_certificate": (
        "The certificates of the authorities that are trusted: a PEM text",
        '"-----BEGIN CERTIFICATE-----..."',
    ),
    "engine": ("single, or fdw for a coordinator with data nodes", '"single"'),
    "coordinator": ("The coordinator, or the single server", ""),
    "data_nodes": ("The data nodes of a coordinator", ""),
    "dead_nodes": ("Whether to remove the cluster even if a server does not answer", "false"),
    "LatestCheckUp.findings": ("What was found; null for a cluster whose servers are ours", ""),
    "CheckUpReport.findings": ("What was found", ""),
    "LatestCheckUp.time": (
        "When the servers were looked at: UTC, with a Z; null for none",
        '"2026-11-20T08:00:04Z"',
    ),
    "node": ("Name of the node", '"cn"'),
    "weight": ("good, should, or must: then no snapshot can be taken", '"must"'),
    "about": ("What the finding is about", '"rights"'),
    "ShownFinding.message": ("What was found", '"the role lacks REPLICATION: streams the WAL"'),
    "mend": ("The SQL, or the line of a configuration file, that mends it", '"ALTER ROLE ... REPLICATION;"'),
}
