"""Checks of names and other values that a caller chooses. They raise InvalidInput with the broken rule. Pure.

The rules are from the DWS API (its CreateCluster, CreateSnapshot and RestoreCluster pages). No message repeats the
value, because it may be a secret, or megabytes long.
"""

import re
from collections.abc import Sequence

from stillhouse.errors import InvalidInput

DEFAULT_PORT = 8000
DEFAULT_USER = "dbadmin"
# PostgreSQL's NAMEDATALEN, in bytes, without the NUL at the end. A longer name cannot exist.
LONGEST_IDENTIFIER = 63
_MOST_HOSTS = 8

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{3,63}")
_NAME_RULE = "must be 4 to 64 characters, begin with a letter, and hold only letters, digits, '-' and '_'"

_POLICY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{3,91}")

_DESCRIPTION_LIMIT = 256
_DESCRIPTION_FORBIDDEN = frozenset("!<>'=&\"")

_USER_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_PASSWORD_SPECIALS = frozenset("~!?,.:;_(){}[]/<>@#%^&*+|\\=-")
_PASSWORD_CLASSES_NEEDED = 3

# From pg_get_keywords() of PostgreSQL 18: reserved words (R), and reserved words usable as function or type (T). They
# cannot be a role's name unquoted. CREATE ROLE itself refuses `public` and `none`.
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate
    collation column concurrently constraint create cross current_catalog current_date current_role
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end
    except false fetch for foreign freeze from full grant group having ilike in initially inner intersect
    into is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null
    offset on only or order outer overlaps placing primary references returning right select session_user
    similar some symmetric system_user table tablesample then to trailing true union unique user using
    variadic verbose when where window with public none
"""
# PostgreSQL reserves the first (catalog/catalog.c, IsReservedName). This service uses the second, for its superuser,
# its schema, and all roles, schemas, slots and transactions that it makes.
_RESERVED_PREFIXES = ("pg_", "stillhouse_")
_SERVICE = "stillhouse"


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,252})")
TLS_MODES = ("disable", "require", "verify-ca", "verify-full")


def check_connection(hosts: Sequence[tuple[str, int]], role: str, tls: str) -> None:
    """Check the connection to a server. A host is a name or an address, never the directory of a socket."""
    _check(0 < len(hosts) <= _MOST_HOSTS, f"a server has 1 to {_MOST_HOSTS} hosts")
    for host, port in hosts:
        _check(_HOST.fullmatch(host) is not None, "a host is a name or an IP address")
        _check(0 < port < 1 << 16, "a port is a number from 1 to 65535")
    _check(
        0 < len(role.encode(errors="replace")) <= LONGEST_IDENTIFIER and "\0" not in role,
        "a role has 1 to 63 bytes",
    )
    _check(tls in TLS_MODES, f"tls is one of {', '.join(TLS_MODES)}")


def check_snapshot_name(name: str) -> None:
    _check(_NAME.fullmatch(name) is not None, f"snapshot name {_NAME_RULE}")


def check_policy_name(name: str) -> None:
    _check(
        _POLICY_NAME.fullmatch(name) is not None,
        "policy_name must be 4 to 92 characters, begin with a letter, and hold only letters, digits, '-' and '_'",
    )


def check_cluster_name(name: str) -> None:
    _check(_NAME.fullmatch(name) is not None, f"cluster name {_NAME_RULE}")


def check_description(description: str) -> None:
    _check(
        len(description) <= _DESCRIPTION_LIMIT, f"description must be at most {_DESCRIPTION_LIMIT} characters"
    )
    _check(
        _DESCRIPTION_FORBIDDEN.isdisjoint(description),
        "description must hold none of the characters ! < > ' = & \"",
    )
    # These cannot be stored: PostgreSQL's text has no NUL, and UTF-8 has no lone surrogates.
    _check(
        not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in description),
        "description must be valid Unicode text without the character NUL",
    )


def check_user_name(name: str) -> None:
    _check(
        _USER_NAME.fullmatch(name) is not None,
        "user_name must be 1 to 63 characters, begin with a lower-case letter or '_', "
        "and hold only lower-case letters, digits and '_'",
    )
    _check(name not in _RESERVED_WORDS.split(), "user_name must not be an SQL keyword")
    _check(
        not is_reserved(name),
        "user_name must not be 'stillhouse', nor begin with 'stillhouse_' or 'pg_': such names are the service's and "
        "PostgreSQL's",
    )


def is_reserved(name: str) -> bool:
    """Whether the name is reserved, so that no role and no schema may be made with it for a caller."""
    return name == _SERVICE or name.startswith(_RESERVED_PREFIXES)


def check_password(password: str, user_name: str) -> None:
    _check(12 <= len(password) <= 32, "user_pwd must be 12 to 32 characters")
    classes = {_password_class(char) for char in password}
    _check(
        None not in classes,
        f"user_pwd must hold only ASCII letters, digits and {''.join(sorted(_PASSWORD_SPECIALS))}",
    )
    _check(
        len(classes) >= _PASSWORD_CLASSES_NEEDED,
        "user_pwd must hold at least three of: upper-case, lower-case, digit, special character",
    )
    _check(
        password not in (user_name, user_name[::-1]),
        "user_pwd must not be the user name, forwards or backwards",
    )


def check_port(port: int) -> None:
    _check(8000 <= port <= 30000, "port must be between 8000 and 30000")


def check_number_of_node(number: int) -> None:
    _check(1 <= number <= 256, "number_of_node must be between 1 and 256")


def _password_class(char: str) -> str | None:
    if char in _PASSWORD_SPECIALS:
        return "special"
    if not char.isascii():
        return None
    if char.isdigit():
        return "digit"
    if char.isupper():
        return "upper"
    if char.islower():
        return "lower"
    return None


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidInput(message)
