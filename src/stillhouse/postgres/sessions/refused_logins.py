"""Says why a server did not let us in, and what mends it, from the words of libpq, which tells no SQLSTATE of a login.

The words are those of auth.c and postinit.c in PostgreSQL, and of PgBouncer. A server that speaks another language is
told as it speaks.
"""

from stillhouse.domain.cluster import Node

_REMEDIES = (
    (
        "password authentication failed",
        "the password was changed, or is another: write the present one into {password}",
    ),
    (
        "no pg_hba.conf entry for replication",
        "in the server's pg_hba.conf: {line} replication {role} <address of the service> scram-sha-256",
    ),
    (
        "no pg_hba.conf entry",
        "in the server's pg_hba.conf: {line} all,replication {role} <address of the service> scram-sha-256",
    ),
    (
        "pg_hba.conf rejects",
        "in the server's pg_hba.conf, above that line: {line} all,replication {role} <address> scram-sha-256",
    ),
    ("is not permitted to log in", "ALTER ROLE {role} LOGIN;"),
    ("must be superuser or replication role", "ALTER ROLE {role} REPLICATION;"),
    ("permission denied to start WAL sender", "ALTER ROLE {role} REPLICATION;"),
    ("unsupported startup parameter", "that is a pooler: connect to the server itself"),
    ("too many connections for role", "ALTER ROLE {role} CONNECTION LIMIT -1;"),
    ("certificate verify failed", "the authority of the server's certificate is not in {ca}"),
    (
        "root certificate file",
        "name the authority of the server's certificate with --ca-file; one that signs itself, as Debian's does, is its"
        " own authority",
    ),
    (
        "does not match host name",
        "the server's certificate is of another name: connect by that name, or renew it",
    ),
    ("server does not support SSL", "set ssl = on there, or register it with --tls disable"),
    ("session is read-only", "none of its hosts can be written to: is a failover under way?"),
    ("server is in hot standby mode", "none of its hosts can be written to: is a failover under way?"),
)

_OTHERWISE = (
    "start the server on its host, and see that it can be reached from here; `stillhouse cluster connect` changes its"
    " address"
)


def remedy(node: Node, said: str) -> str:
    """Return what mends it, or "" if the server is ours."""
    if node.connection is None:
        return ""
    for words, mend in _REMEDIES:
        if words in said:
            return mend.format(
                role=node.connection.role,
                line="host" if node.connection.tls == "disable" else "hostssl",
                password=node.connection.password_file or "the registration",
                ca=node.connection.ca_file or "the authorities that the service trusts",
            )
    return _OTHERWISE
