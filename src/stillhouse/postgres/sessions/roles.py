"""The service's two roles on a server, the superuser and the reader of tenants' data: creates and repairs them."""

import base64
import hashlib
import hmac
import secrets
from contextlib import closing

from stillhouse.domain.cluster import Node
from stillhouse.errors import StateForbids
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.options import LET_SET
from stillhouse.postgres.sessions.session import READER, SUPERUSER, Connection, sql

# With these settings no statement of a session is logged, not even a failing one: some statements hold passwords.
UNLOGGED = {
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "pg_stat_statements.track_utility": "off",
}

# Only one service at a time works on the roles of a server, until the end of its transaction.
_MAKING_ROLES = int.from_bytes(b"still rl")
_OWNS_SOMETHING = f"""
    SELECT EXISTS (SELECT FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
                    AND refobjid = '{READER}'::regrole AND deptype = 'o')
"""
# Without BYPASSRLS rows are left out, and the tables' policies run. Without INHERIT nothing may be read.
_READS_ALL_AND_DOES_NOTHING = (
    "LOGIN INHERIT BYPASSRLS NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
    " CONNECTION LIMIT -1 VALID UNTIL 'infinity'"
)
_MEMBERSHIPS = f"""
    SELECT of.rolname, member.rolname, grantor.rolname
      FROM pg_auth_members m JOIN pg_roles of ON of.oid = m.roleid JOIN pg_roles member ON member.oid = m.member
      LEFT JOIN pg_roles grantor ON grantor.oid = m.grantor
     WHERE '{READER}'::regrole IN (m.roleid, m.member)
"""
# This loop runs in the server, since a database's name may be unreadable to every client. The reader gets its own grant
# on each database, because the owner may take the grant to PUBLIC away at any time.
_LET_READER_ENTER = f"""
    DO $$ DECLARE this name; BEGIN
        FOR this IN SELECT datname FROM pg_catalog.pg_database d WHERE datconnlimit <> -2 AND NOT EXISTS (
                        SELECT FROM pg_catalog.aclexplode(d.datacl)
                         WHERE grantee = '{READER}'::pg_catalog.regrole AND privilege_type = 'CONNECT')
        LOOP EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO {READER}', this); END LOOP;
    END $$
"""
_FORGET_SETTINGS = f"""
    DO $$ DECLARE this name; BEGIN
        ALTER ROLE {READER} RESET ALL;
        FOR this IN SELECT d.datname FROM pg_catalog.pg_db_role_setting s
                      JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
                     WHERE s.setrole = '{READER}'::pg_catalog.regrole
        LOOP EXECUTE pg_catalog.format('ALTER ROLE {READER} IN DATABASE %I RESET ALL', this); END LOOP;
    END $$
"""


def ensure_roles(connection: Connection, node: Node) -> None:
    """Give both roles the passwords of the node, if it has a secret, and repair the reader, however it was changed.

    `connection` is a superuser's, in autocommit mode. No statement in it is logged from here on. The reader may enter
    the existing databases only after `grant_connect`. Raises StateForbids if another role has the reader's name.
    """
    for name, value in UNLOGGED.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
    with connection.transaction():
        connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", [_MAKING_ROLES])
        _make_reader(connection)
        _leave_one_membership(connection)
        connection.execute(_FORGET_SETTINGS.encode())
        if node.secret:
            for role in (SUPERUSER, READER):
                _set_password(connection, role, node.password(role))


def take_over(node: Node, first_role: str) -> None:
    """Make our superuser on a clone of somebody's server, which lets in this service as `first_role`.

    Raises StateForbids if somebody has a role of that name, and the server's errors.
    """
    with closing(session.connect(node, "postgres", role=first_role)) as connection:
        ours = sql.Identifier(SUPERUSER)
        known = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [SUPERUSER]).fetchall()
        if not known:
            connection.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(ours))
        elif known != [(True,)]:
            raise StateForbids(
                f"the role {SUPERUSER} must be the service's own, but somebody has one of that name",
                hint="rename that role at the source, and take another snapshot",
            )


def furnish(node: Node) -> None:
    """Create or repair both roles on a server that lets this service in. Raises the server's errors."""
    with closing(session.connect(node, "postgres")) as connection:
        ensure_roles(connection, node)
        grant_connect(connection)


def grant_connect(connection: Connection) -> None:
    """Let the reader enter every database, independent of PUBLIC's rights, and overrule the settings imposed there.

    `connection` is a superuser's, to any database.
    """
    connection.execute(_LET_READER_ENTER.encode())
    connection.execute(LET_SET.format(role=READER))


def _make_reader(connection: Connection) -> None:
    reader = sql.Identifier(READER)
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [READER]).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {}").format(reader))
    ((owns_something,),) = connection.execute(_OWNS_SOMETHING.encode()).fetchall()
    if owns_something:
        # A function owned by the reader could read everything, and a table owned by it could be used in its name.
        raise StateForbids(
            f"the role {READER} must be the service's own, but somebody uses it: it owns objects",
            hint="rename that role; the service makes its own",
        )
    connection.execute(sql.SQL("ALTER ROLE {} {}").format(reader, sql.SQL(_READS_ALL_AND_DOES_NOTHING)))


def _leave_one_membership(connection: Connection) -> None:
    """Make the reader a member of pg_read_all_data only, and leave no role a member of the reader."""
    # Since 16 a membership belongs to its grantor, and each grant has options of its own.
    is_since_16 = connection.info.server_version >= 160000
    for of, member, grantor in connection.execute(_MEMBERSHIPS.encode()).fetchall():
        revoke = sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(of), sql.Identifier(member))
        if is_since_16:
            revoke += sql.SQL(" GRANTED BY {}").format(sql.Identifier(grantor))
        connection.execute(revoke + sql.SQL(" CASCADE"))
    only = " WITH INHERIT TRUE, SET FALSE" if is_since_16 else ""
    connection.execute(f"GRANT pg_read_all_data TO {READER}{only}".encode())


def _set_password(connection: Connection, role: str, password: str) -> None:
    """Set the verifier that the server stores, so that the password itself is in no statement and no log."""
    verifier = _verifier(password)
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    )


def _verifier(password: str) -> str:
    """Return the verifier that pg_authid holds for a password of ours, by RFC 5802 (libpq/auth-scram.c:
    parse_scram_secret).

    It has one iteration instead of the usual 4,096. Iterations slow down guessing, but 256 random bits cannot be
    guessed. With 4,096 iterations each login would cost 3 ms, and an incremental capture makes twenty logins.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return "SCRAM-SHA-256$1:{}${}:{}".format(*encoded)
