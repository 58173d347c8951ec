"""The one tree of errors. Each has a code, an HTTP status, whether trying again helps, and a hint for a person.

    StillhouseError
      InvalidInput 400          BodyMissing, NotOffered, WrongKind
      Unauthenticated 401       TokenExpired
      Forbidden 403             NotPermitted, StateForbids, DatabaseClosed, QuotaExceeded
      NotFound 404              ClusterUnknown, SnapshotUnknown, DatabaseUnknown, OperationUnknown,
                                ApiUnknown
      Conflict 409              NameTaken, ClusterBusy, DataDirectoryInUse, CatalogInUse, CatalogNotOurs
      TooManyRequests 429
      InternalError 500         RepositoryDamaged (FormatUnknown), ObjectMissing, CaptureFailed,
                                RestoreFailed (CutMissed), ProvisionFailed,
                                ProofFailed (TableReplaced), FileRefused, Cancelled
      Unavailable 503           ShuttingDown, CatalogUnavailable (CatalogRefused), StoreUnavailable
                                (StoreRefused), NodeUnreachable, CutFailed, CaptureInterrupted, AttemptDead,
                                ServiceUnreachable, TablesHeld, Overloaded
      WaitInterrupted           in these commands too: nobody waits any longer, and the work goes on
      ServiceRefused            in the commands that are clients of the API: the service's own error

`code` is stable and our own; only `api` translates it into DWS's words.
"""

import re
from typing import ClassVar

# Halves of UTF-16 pairs: JSON may hold them, and they stand for no byte.
_NO_TEXT = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def shown(text: str) -> str:
    """Return the text for people and programs that take only valid UTF-8: other bytes of names are shown as \\xNN."""
    return _NO_TEXT.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class StillhouseError(Exception):
    """Root of the tree. `message` names the thing that failed; `hint` gives the remedy."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    # Seconds after which another try may help, for the header Retry-After; 0: not told.
    retry_after: int = 0

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = shown(message)
        self.hint = shown(hint)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInput(StillhouseError):
    code = "input.invalid"
    status = 400


class BodyMissing(InvalidInput):
    code = "input.empty"


class NotOffered(InvalidInput):
    """The API has this operation, but it has no meaning on one's own host."""

    code = "not-offered"


class WrongKind(InvalidInput):
    """The operation is not for things of this kind, for example the deletion of an automated snapshot."""

    code = "input.wrong-kind"


class Unauthenticated(StillhouseError):
    """The caller is not known. `who` is the claimed name: for the audit, not to be believed."""

    code = "auth.failed"
    status = 401

    def __init__(self, message: str, *, hint: str = "", who: str = "") -> None:
        super().__init__(message, hint=hint)
        self.who = who


class TokenExpired(Unauthenticated):
    code = "auth.token-expired"


class Forbidden(StillhouseError):
    code = "forbidden"
    status = 403


class NotPermitted(Forbidden):
    """The caller's project or policy does not cover the resource."""

    code = "auth.not-permitted"


class StateForbids(Forbidden):
    """The resource exists, but its present state rules the operation out."""

    code = "state.forbids"


class DatabaseClosed(StateForbids):
    """We cannot enter a database of a cluster, or not with the rights that we need; the message says why."""

    code = "database.closed"


class QuotaExceeded(Forbidden):
    """The project has as much as this service's settings allow one project; the message names the setting."""

    code = "quota.exceeded"


class NotFound(StillhouseError):
    code = "not-found"
    status = 404


class ClusterUnknown(NotFound):
    code = "cluster.unknown"


class SnapshotUnknown(NotFound):
    code = "snapshot.unknown"


class DatabaseUnknown(NotFound):
    code = "database.unknown"


class OperationUnknown(NotFound):
    """No job of this id, or no task of this kind, that the caller's project ever had."""

    code = "operation.unknown"


class ApiUnknown(NotFound):
    code = "api.unknown"


class Conflict(StillhouseError):
    code = "conflict"
    status = 409


class NameTaken(Conflict):
    code = "name.taken"


class ClusterBusy(Conflict):
    """Another operation holds the cluster; it ends by itself, so asking again later helps."""

    code = "cluster.busy"
    retryable = True


class TooManyRequests(StillhouseError):
    """The caller's key or project has sent more requests than its share."""

    code = "rate.exceeded"
    status = 429
    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class DataDirectoryInUse(Conflict):
    """Another process serves this data directory; two would carry out the same work."""

    code = "data.in-use"


class CatalogInUse(Conflict):
    """Another service works on this catalog; two would carry out the same work."""

    code = "catalog.in-use"


class CatalogNotOurs(Conflict):
    """The catalog is of another installation, of a newer version, or at another place by now; the message says so."""

    code = "catalog.not-ours"


class InternalError(StillhouseError):
    code = "internal"


class RepositoryDamaged(InternalError):
    """Stored bytes are missing, altered or not ours. Never retried: the store answered.

    `key` is the damaged object's key, if the bytes belong to an object.
    """

    code = "repository.damaged"

    def __init__(self, message: str, *, hint: str = "", key: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class FormatUnknown(RepositoryDamaged):
    """An object asks for a newer program: it may well be sound."""

    code = "repository.format-unknown"


class ObjectMissing(InternalError):
    """The store answered that it holds no object of this name. The caller knows whether that is damage."""

    code = "object.missing"

    def __init__(self, message: str, *, hint: str = "", key: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class ObjectTooLarge(InternalError):
    """An object that was to be stored is larger than readers of its kind accept, so it was not stored."""

    code = "object.too-large"


class CaptureFailed(InternalError):
    """A capture cannot be completed as it stands; `retryable` subclasses may be tried anew."""

    code = "capture.failed"


class RestoreFailed(InternalError):
    code = "restore.failed"


class CutMissed(RestoreFailed):
    """Recovery did not end at the snapshot's cut, so the stored WAL is wrong."""

    code = "restore.cut-missed"


class ProvisionFailed(InternalError):
    code = "provision.failed"


class ProofFailed(InternalError):
    """A cluster cannot be compared with its source: whether they are equal is not known."""

    code = "proof.failed"


class TableReplaced(ProofFailed):
    """A tenant put something else in the place of a table that was to be read, so the read does not count."""

    code = "proof.table-replaced"


class FileRefused(InternalError):
    """Something in an account's directory is not the account's own, so it is neither read nor written here.

    `reason` is the message without the path.
    """

    code = "file.refused"

    def __init__(self, message: str, *, hint: str = "", reason: str = "") -> None:
        super().__init__(message, hint=hint or "the service touches only the account's own files: remove it")
        self.reason = reason


class Cancelled(InternalError):
    """The operation was stopped because a person asked for it."""

    code = "cancelled"


class Unavailable(StillhouseError):
    code = "unavailable"
    status = 503
    retryable = True


class ShuttingDown(Unavailable):
    code = "shutting-down"


class CatalogUnavailable(Unavailable):
    code = "catalog.unavailable"


class CatalogRefused(CatalogUnavailable):
    """The catalog's server answers, but not to us: role, password, rights or certificates are wrong."""

    code = "catalog.refused"
    retryable = False


class StoreUnavailable(Unavailable):
    code = "store.unavailable"


class StoreRefused(StoreUnavailable):
    """The store answers, but not to us: keys, rights, bucket or request are wrong until a person sets them right."""

    code = "store.refused"
    retryable = False


class NodeUnreachable(Unavailable):
    """A PostgreSQL server of the cluster does not answer."""

    code = "node.unreachable"


class OnAnotherHost(Unavailable):
    """The cluster's servers answer only on the host that made them, and another replica was asked."""

    code = "replica.on-another-host"


class CutFailed(Unavailable):
    """No consistent cut before the deadline; the message names who was in the way."""

    code = "cut.failed"


class CaptureInterrupted(Unavailable):
    """The attempt met a state it cannot go on from, but a new attempt can."""

    code = "capture.interrupted"


class AttemptDead(Unavailable):
    """The attempt a caller acts for was given up meanwhile; only a new one may go on."""

    code = "attempt.dead"


class ServiceUnreachable(Unavailable):
    """The service does not answer at the address that the command was given."""

    code = "service.unreachable"


class TablesHeld(Unavailable):
    """Somebody works with a table that is to be replaced; the message names who."""

    code = "tables.held"


class Overloaded(Unavailable):
    """More work of one kind waits than this service keeps waiting; nothing was begun."""

    code = "overloaded"

    def __init__(self, message: str, *, hint: str = "", retry_after: int = 2) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class WaitInterrupted(StillhouseError):
    """The user does not wait any longer for work of the service, which goes on."""

    code = "wait.interrupted"


class ServiceRefused(StillhouseError):
    """The service's own refusal, as a client of its API got it: the API's code is part of the message.

    `of_service` has that code, the HTTP status and the request's id apart, for programs.
    """

    code = "service.refused"

    def __init__(self, message: str, *, hint: str = "", of_service: dict[str, object] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.of_service = of_service or {}
