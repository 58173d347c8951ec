"""Passwords at rest: scrypt, which makes each guess cost 32 MiB and a tenth of a second."""

import base64
import secrets
import threading

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

# OWASP's password storage cheat sheet lists these among its equal choices for scrypt.
_N, _R, _P = 2**15, 8, 3
_SALT_BYTES, _HASH_BYTES = 16, 32

# A flood of guesses must take neither all the memory nor all the cores.
_turn = threading.Semaphore(2)


def hash_password(password: str) -> str:
    """`scrypt$<n>$<r>$<p>$<salt>$<hash>`, the last two in base64."""
    salt = secrets.token_bytes(_SALT_BYTES)
    with _turn:
        hashed = _scrypt(_N, _R, _P, salt).derive(password.encode())
    return "$".join(["scrypt", str(_N), str(_R), str(_P), _text(salt), _text(hashed)])


def is_password(password: str, password_hash: str) -> bool:
    """Whether the password matches. Compares in constant time, as the library's `verify` does."""
    _, n, r, p, salt, hashed = password_hash.split("$")
    try:
        with _turn:
            kdf = _scrypt(int(n), int(r), int(p), base64.b64decode(salt))
            kdf.verify(password.encode(), base64.b64decode(hashed))
    except InvalidKey:
        return False
    return True


def _scrypt(n: int, r: int, p: int, salt: bytes) -> Scrypt:
    return Scrypt(salt=salt, length=_HASH_BYTES, n=n, r=r, p=p)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
