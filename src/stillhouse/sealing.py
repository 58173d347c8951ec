"""Secrets at rest: AES-256-GCM under the data directory's own key, each bound to the row that holds it."""

import base64
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stillhouse import atomic_file
from stillhouse.errors import InternalError

KEY_FILE = "secrets.key"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Sealer:
    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def in_directory(cls, data: Path) -> "Sealer":
        """Open the directory's key file; create it, once and for good, if it is missing."""
        return cls(key_in(data))

    def seal(self, secret: str, row: str) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret.encode(), row.encode())
        return base64.b64encode(sealed).decode()

    def unseal(self, sealed: str, row: str) -> str:
        """Return the secret. A value altered, moved from another row or sealed by another key is refused."""
        raw = base64.b64decode(sealed)
        try:
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], row.encode()).decode()
        except InvalidTag as error:
            raise InternalError(
                f"the secret of {row} was altered or sealed with another key", hint=f"compare {KEY_FILE}"
            ) from error


def key_in(data: Path) -> bytes:
    """Return the key of secrets of a data directory. One is made, once and for good, if there is none."""
    path = data / KEY_FILE
    if not path.exists():
        atomic_file.create(path, secrets.token_bytes(_KEY_BYTES))
    if path.stat().st_mode & 0o077:
        raise InternalError(f"others than its owner may read {path}", hint=f"chmod 600 {path}")
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise InternalError(f"{path} is not a key of {_KEY_BYTES} bytes", hint="bring back its copy")
    return key
