"""How long a busy S3 service wants to be left alone.

obstore hands on no header of an answer. So a service that has answered 429 or 503 is asked once more, by a signed HEAD
of an object that need not be there, and the header is read from its answer.
"""

import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

_KEY = "probe/pace"
_PATIENCE_SECONDS = 2.0
_LONGEST_SECONDS = 3600
_SIGNED_FOR = timedelta(minutes=5)  # clocks differ


def asked_for(client: S3Store, ca_file: str) -> int:
    """Return the seconds of its `Retry-After`; 0 if it names none."""
    try:
        url = obstore.sign(client, "HEAD", _KEY, _SIGNED_FOR)
        context = ssl.create_default_context(cafile=ca_file or None) if url.startswith("https:") else None
        # The address is the endpoint's, which is http or https.
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310
        with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS, context=context):  # noqa: S310
            return 0
    except urllib.error.HTTPError as answer:
        return seconds(answer.headers)
    except (OSError, ValueError, BaseError):  # it is away after all, or nothing is signed
        return 0


def seconds(headers: Message) -> int:
    """Read the header, which is a number of seconds or a date; the date counts from that of the answer."""
    value = (headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]), _LONGEST_SECONDS)
    try:
        latest = parsedate_to_datetime(value)
        sent = headers.get("Date")
        now = parsedate_to_datetime(sent) if sent else datetime.now(UTC)
        return min(max(0, round((latest - now).total_seconds())), _LONGEST_SECONDS)
    except (TypeError, ValueError):
        return 0
