"""The TLS certificate of the service, read again when its files change, so that a renewed one needs no restart."""

import os
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from stillhouse import log
from stillhouse.errors import InvalidInput

_LOOK_SECONDS = 1.0
_OTHERS_MAY_USE = 0o077
# As PostgreSQL has it for keys of root's: a group may read them (be-secure-common.c).
_OTHERS_MAY_USE_ROOT_S = 0o037


class Certificate:
    """A certificate with its key. `context` is used for all connections, and always shows the newest good pair.

    The files are looked at during handshakes, at most once a second. A new pair that cannot be used, as between the
    renewal of one file and that of the other, is told in the log once, and the pair before it stays.
    """

    def __init__(self, certificate: Path, key: Path, clock: Callable[[], float] = monotonic) -> None:
        """Raises InvalidInput for files that cannot be used, and for a key that others than its owner may read."""
        self._files = certificate, key
        self._clock = clock
        self._stand = _stand(self._files)
        self._looked = clock()
        self._current = _context(*self._files)
        self.context = _context(*self._files)
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Give the handshake the newest pair. OpenSSL asks this of every client, whether or not it names a server."""
        self._look()
        connection.context = self._current

    def _look(self) -> None:
        if self._clock() - self._looked < _LOOK_SECONDS:
            return
        self._looked = self._clock()
        stand = _stand(self._files)
        if stand == self._stand:
            return
        self._stand = stand
        try:
            self._current = _context(*self._files)
        except InvalidInput as error:
            log.get("tls").error("the new certificate is refused, the old one stays", reason=error.message)
        else:
            log.get("tls").info("the certificate was read again", file=str(self._files[0]))


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a new context with the pair; one that has a pair already may keep half of it after a failure."""
    _check_mode(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{certificate} and {key} are no certificate with its key: {error}",
            hint="both are PEM files; the key is not encrypted, and belongs to the first certificate of the file",
        ) from error
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal for the password of an encrypted key."""
    raise ValueError("the key is encrypted")


def _check_mode(key: Path) -> None:
    try:
        found = key.stat()
    except OSError as error:
        raise InvalidInput(f"{key} cannot be read: {error.strerror}") from error
    is_another_s = found.st_uid == 0 != os.geteuid()
    if stat.S_IMODE(found.st_mode) & (_OTHERS_MAY_USE_ROOT_S if is_another_s else _OTHERS_MAY_USE):
        raise InvalidInput(f"others than its owner may read {key}", hint=f"chmod 600 {key}")


def _stand(files: tuple[Path, ...]) -> list[tuple[int, ...]]:
    """Return numbers that change when a file or its mode does."""
    return [_stand_of(path) for path in files]


def _stand_of(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
