"""Failures of the catalog's database, told as errors of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from stillhouse.errors import CatalogRefused, CatalogUnavailable, InvalidInput

_NO_RIGHTS = "42501"
_RIGHTS = "GRANT CREATE ON DATABASE, and GRANT ALL ON SCHEMA public, to the catalog's role"
# libpq tells no SQLSTATE of a login. The words are those of PostgreSQL's auth.c and postinit.c, and of libpq.
_AWAY = "start the server, and see that STILLHOUSE_CATALOG names it"
_REMEDIES = (
    ("password authentication failed", "write the role's password into the file of passwords"),
    ("no password supplied", "name a file of passwords by passfile= in the URL, or write ~/.pgpass"),
    ("pg_hba.conf", "let the role in by the server's pg_hba.conf"),
    ("is not permitted to log in", "ALTER ROLE ... LOGIN"),
    ("does not exist", "make the role, the database or the file that is missing"),
    ("permission denied for database", "GRANT CONNECT, CREATE ON DATABASE"),
    ("certificate verify failed", "name the authority of the server's certificate by sslrootcert="),
    ("does not match host name", "connect by the name that the server's certificate has"),
    ("server does not support SSL", "set ssl = on there, or sslmode= in the URL where the way is safe"),
)


@contextmanager
def failures_translated() -> Iterator[None]:
    """Turn errors of the driver into CatalogUnavailable, CatalogRefused or InvalidInput."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise _unavailable(error) from error
    except exc.DatabaseError as error:
        said = _said(error)
        if getattr(error.orig, "sqlstate", None) == _NO_RIGHTS:
            raise CatalogRefused(f"the catalog's role lacks a right: {said}", hint=_RIGHTS) from error
        if "invalid connection option" in said:
            raise InvalidInput(
                f"the URL of the catalog cannot be used: {said}", hint="its parameters are those of libpq"
            ) from error
        # The bare class is a damaged or foreign file; its subclasses are faults of ours.
        if type(error) is not exc.DatabaseError:
            raise
        raise _unavailable(error) from error


def _unavailable(error: exc.SQLAlchemyError) -> CatalogUnavailable:
    reason = _said(error)
    for words, mend in _REMEDIES:
        if words in str(error):
            return CatalogRefused(f"the catalog's server does not let us in: {reason}", hint=mend)
    return CatalogUnavailable(
        f"the catalog's database does not answer: {reason}", hint=_AWAY if _is_login(error) else ""
    )


def _is_login(error: exc.SQLAlchemyError) -> bool:
    """Tell it by the words with which psycopg begins: nothing was asked yet."""
    return any(
        words in str(error) for words in ("connection failed", "connection is bad", "connection timeout")
    )


def _said(error: exc.SQLAlchemyError) -> str:
    """Return only the driver's words: SQLAlchemy would add the statement and its parameters."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
