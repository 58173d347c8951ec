"""Forms that are sent: read strictly, and believed only with a token that no other site can know."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from stillhouse.errors import InvalidInput, NotPermitted

_FIELD = "csrf"
_KIND = b"application/x-www-form-urlencoded"
_MOST_FIELDS = 40


def token_for(secret: str) -> str:
    """Return the token that forms carry beside the cookie with this secret: its hash, so neither is kept anywhere."""
    return hashlib.sha256(f"form:{secret}".encode()).hexdigest()


def read(headers: Iterable[tuple[bytes, bytes]], body: bytes, secret: str) -> Mapping[str, str]:
    """Read a form. Raises InvalidInput, or NotPermitted for one that was not sent from a page of ours."""
    found = dict(headers)
    if found.get(b"sec-fetch-site", b"same-origin") != b"same-origin":
        raise NotPermitted("The form was sent from another site.")
    if found.get(b"content-type", b"").partition(b";")[0].strip().lower() != _KIND:
        raise InvalidInput("a form is application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise InvalidInput("the form cannot be read") from error
    form = dict(pairs)
    if len(form) != len(pairs) or any("\0" in value for value in form.values()):
        raise InvalidInput("the form cannot be read")
    if not hmac.compare_digest(form.pop(_FIELD, "").encode(), token_for(secret).encode()):
        raise NotPermitted("The form is not of this session: load its page anew.")
    return form
