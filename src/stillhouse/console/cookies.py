"""The console's two cookies: a session's token, and before that a visitor's number, which guards the sign-in form.

Under TLS their names begin with `__Host-`: a browser takes such a cookie from this very host alone. Without TLS, which
is for loopback addresses and proxies that are not trusted, it takes neither that nor `Secure`.
"""

import re
from collections.abc import Iterable

SESSION, VISITOR = "stillhouse-session", "stillhouse-visitor"
# As `secrets.token_urlsafe(32)` makes them.
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


def read(headers: Iterable[tuple[bytes, bytes]], name: str, *, is_tls: bool) -> str:
    """Return the value of a cookie of ours, or ""."""
    wanted = _full(name, is_tls=is_tls)
    for header, line in headers:
        if header != b"cookie":
            continue
        for part in line.decode("latin-1").split(";"):
            found, _, value = part.strip().partition("=")
            if found == wanted and _VALUE.fullmatch(value):
                return value
    return ""


def setting(name: str, value: str, *, is_tls: bool) -> tuple[bytes, bytes]:
    """Return the header that sets a cookie until the browser ends; an empty value removes it."""
    parts = [f"{_full(name, is_tls=is_tls)}={value}", "Path=/", "HttpOnly", "SameSite=Strict"]
    if is_tls:
        parts.append("Secure")
    if not value:
        parts.append("Max-Age=0")
    return b"set-cookie", "; ".join(parts).encode()


def _full(name: str, *, is_tls: bool) -> str:
    return f"__Host-{name}" if is_tls else name
