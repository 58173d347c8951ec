"""A visitor of the console without a browser: keeps cookies, fills forms in and sends them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape

import httpx

_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')
SIGN_IN = "/console/sign-in"


@dataclass
class Visitor:
    http: httpx.Client
    token: str = field(default="", repr=False)

    def get(self, path: str) -> httpx.Response:
        """Ask for a page; its form's token is remembered. Redirects are not followed."""
        answer = self.http.get(path)
        if found := _TOKEN.search(answer.text):
            self.token = found[1]
        return answer

    def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form with the token of the last page, unless another one is given."""
        return self.http.post(path, data={"csrf": self.token} | fields)

    def sign_in(self, access_key: str, secret_key: str, next_: str = "/console/clusters") -> httpx.Response:
        self.get(f"{SIGN_IN}?next={next_}")
        return self.send(f"{SIGN_IN}?next={next_}", by="key", key=access_key, secret=secret_key)

    def sign_in_as(self, project: str, name: str, password: str) -> httpx.Response:
        self.get(f"{SIGN_IN}?by=user")
        return self.send(f"{SIGN_IN}?by=user", by="user", project=project, name=name, password=password)


@contextmanager
def visiting(endpoint: str, **headers: str) -> Iterator[Visitor]:
    with httpx.Client(base_url=endpoint, headers=headers, timeout=120) as http:
        yield Visitor(http)


def text_of(html: str) -> str:
    """The text that a reader of the page sees."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
