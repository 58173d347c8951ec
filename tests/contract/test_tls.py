"""TLS of the service: versions, renewal of the certificate, bounded handshakes; and where plain HTTP is served."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send

from stillhouse import log
from stillhouse.api.wire.certificate import Certificate
from stillhouse.api.wire.crowd import Crowd
from stillhouse.api.wire.protocol import Patience
from stillhouse.cli.host import serve
from stillhouse.config import Settings
from stillhouse.errors import InvalidInput
from support.api.http_server import serving_tls
from support.servers.certificates import Authority

SECONDS = 30
ASK = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the scheme that it sees."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


def serving(
    certificate: Certificate, crowd: Crowd, handshake: float = SECONDS
) -> AbstractContextManager[int]:
    log.configure("INFO")  # to this test's standard error: that of the test before is closed
    return serving_tls(app, certificate, crowd, Patience(handshake=handshake))


def ask(port: int, context: ssl.SSLContext) -> tuple[str, bytes]:
    """The common name in the certificate that the service shows, and its answer."""
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        shown = secured.getpeercert()
        assert shown is not None
        secured.sendall(ASK)
        answer = b""
        while more := secured.recv(2**16):
            answer += more
    ((name, common),) = (pair for part in cast(Any, shown["subject"]) for pair in part)
    assert name == "commonName"
    return str(common), answer


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_over_tls_is_answered_and_known_to_be_one(authority: Authority) -> None:
    with serving(Certificate(*authority.issue()), Crowd(10, 10)) as port:
        _, answer = ask(port, authority.trusted())
    assert answer.startswith(b"HTTP/1.1 200") and b"\r\nhttps\r\n" in answer


def test_a_request_sent_with_the_end_of_the_handshake_is_answered(authority: Authority) -> None:
    """Both arrive in one segment, before the service has taken the connection over."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusted().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with (
        serving(Certificate(*authority.issue()), Crowd(10, 10)) as port,
        socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
    ):
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(2**16))
        client.write(ASK)
        plain.sendall(outgoing.read())
        answer = b""
        while b"\r\nhttps\r\n" not in answer and (more := plain.recv(2**16)):
            incoming.write(more)
            try:
                while read := client.read(2**16):
                    answer += read
            except ssl.SSLWantReadError:
                pass
    assert b"\r\nhttps\r\n" in answer


def test_versions_before_1_2_are_refused(authority: Authority) -> None:
    old, new = authority.trusted(), authority.trusted()
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    new.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(Certificate(*authority.issue()), Crowd(10, 10)) as port:
        assert b"200" in ask(port, new)[1]
        with pytest.raises(ssl.SSLError):
            ask(port, old)


def test_a_renewed_certificate_is_shown_without_a_restart(authority: Authority) -> None:
    with serving(Certificate(*authority.issue("first"), Clock()), Crowd(10, 10)) as port:
        assert ask(port, authority.trusted())[0] == "first"
        authority.issue("second")
        assert ask(port, authority.trusted())[0] == "second"


@pytest.mark.parametrize("breaks", ["the key of another", "no certificate", "a missing key", "an open key"])
def test_a_broken_renewal_is_told_once_and_the_old_pair_stays(
    breaks: str, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = authority.issue("first")
    with serving(Certificate(certificate, key, Clock()), Crowd(10, 10)) as port:
        good = key.read_bytes()
        if breaks == "the key of another":
            authority.issue("second")
            key.write_bytes(good)
        elif breaks == "no certificate":
            certificate.write_text("nothing")
        elif breaks == "a missing key":
            key.unlink()
        else:
            key.chmod(0o644)
        capsys.readouterr()
        assert [ask(port, authority.trusted())[0] for _ in range(3)] == ["first"] * 3
        assert capsys.readouterr().err.count("the new certificate is refused") == 1
        key.unlink(missing_ok=True)
        authority.issue("third")
        assert ask(port, authority.trusted())[0] == "third"


def test_files_are_looked_at_once_a_second_at_most(authority: Authority) -> None:
    now = [0.0]
    with serving(Certificate(*authority.issue("first"), lambda: now[0]), Crowd(10, 10)) as port:
        authority.issue("second")
        now[0] = 0.9
        assert ask(port, authority.trusted())[0] == "first"
        now[0] = 1.0
        assert ask(port, authority.trusted())[0] == "second"


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_is_none_ends_and_leaves_nothing(sent: bytes, authority: Authority) -> None:
    crowd = Crowd(1, 1)
    with serving(Certificate(*authority.issue()), crowd, handshake=0.3) as port:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            connection.sendall(sent)
            try:
                while connection.recv(2**16):
                    pass
            except ConnectionResetError:
                pass
        until(lambda: crowd.admit(_Held(), "127.0.0.1"))


def test_a_handshake_counts_as_a_connection(authority: Authority) -> None:
    with serving(Certificate(*authority.issue()), Crowd(10, 2)) as port:
        held = [socket.create_connection(("127.0.0.1", port), SECONDS) for _ in range(2)]
        with (
            pytest.raises((ConnectionResetError, ssl.SSLError, BrokenPipeError)),
            socket.create_connection(("127.0.0.1", port), SECONDS) as more,
        ):
            authority.trusted().wrap_socket(more, server_hostname="127.0.0.1")
        for connection in held:
            connection.close()


class _Held:
    is_idle = True

    def give_way(self) -> None:
        """Never asked."""


# Where plain HTTP is served


def refusal(tmp_path: Path, **settings: object) -> str:
    with pytest.raises(InvalidInput) as refused:
        serve.run(Settings.model_validate({"data": tmp_path / "data", **settings}))
    assert not (tmp_path / "data").exists()
    return refused.value.message


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"])
def test_plain_http_is_served_on_loopback_alone(listen: str, tmp_path: Path) -> None:
    told = refusal(tmp_path, listen=listen)
    assert "--tls-cert" in told and "--insecure" in told and "127.0.0.1" in told and "\n" not in told


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "127.9.9.9:8080", "localhost:8080", "[::1]:8080"])
def test_plain_http_on_loopback_needs_no_word(listen: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, listen=listen)
    assert serve.certificate_of(settings, serve.place_of(listen)) is None


def test_who_accepts_plain_http_elsewhere_gets_it(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, listen="0.0.0.0:8080", insecure=True)
    assert serve.certificate_of(settings, serve.place_of(settings.listen)) is None


def test_tls_is_served_on_any_address(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    settings = Settings(data=tmp_path, listen="0.0.0.0:8080", tls_cert=certificate, tls_key=key)
    assert serve.certificate_of(settings, serve.place_of(settings.listen)) is not None


def test_half_a_pair_is_refused(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    assert "needs its key" in refusal(tmp_path, tls_cert=certificate)
    assert "needs its key" in refusal(tmp_path, tls_key=key)


def test_a_key_that_others_may_read_is_refused(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    for mode in (0o604, 0o640, 0o660):
        key.chmod(mode)
        assert "others than its owner may read" in refusal(tmp_path, tls_cert=certificate, tls_key=key)


def test_files_that_are_no_pair_are_refused_by_name(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    certificate.write_text("nothing")
    assert str(certificate) in refusal(tmp_path, tls_cert=certificate, tls_key=key)
    assert "cannot be read" in refusal(tmp_path, tls_cert=certificate, tls_key=tmp_path / "missing")
