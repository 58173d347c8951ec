"""A real S3 server for tests: OpenStack Swift, all of its four servers, in a virtual environment of its own.

Swift speaks S3 (SigV4, conditional puts, multipart) through its `s3api` middleware. It needs neither root nor
`/etc/swift` (each server's `swift_dir` says where its rings are), but a file system with user xattrs.

Its object server checks `If-None-Match: *` when a request comes in and again never, so as it is configured by
default several concurrent creators win. One that serves a single request at a time has exactly one winner.
Tests use the latter for what a store must do, and the default one as a store that must be refused.
"""

import atexit
import fcntl
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

PACKAGES = ("swift==2.38.3", "setuptools<81")
SERVERS = ("account", "container", "object", "proxy")
START_DEADLINE_SECONDS = 60.0

# Linux prctl(2): PR_SET_PDEATHSIG = 1. A server must not outlive a killed test run.
DIE_WITH_PARENT = """
import ctypes, runpy, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

_BUILD_RINGS = """
import sys
from swift.common.ring import RingBuilder
directory = sys.argv[1]
for name, port in zip(("account", "container", "object"), sys.argv[2:]):
    ring = RingBuilder(2, 1, 1)
    place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port)}
    ring.add_dev(place | {"device": "disk", "weight": 1})
    ring.rebalance()
    ring.get_ring().save(f"{directory}/{name}.ring.gz")
"""

_BACKEND = """
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats bulk s3api tempauth slo symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
""" + "".join(
    f"[filter:{name}]\nuse = egg:swift#{name}\n"
    for name in ("catch_errors", "gatekeeper", "listing_formats", "bulk", "slo", "symlink")
)


class Unobtainable(Exception):
    """The server cannot be had on this machine; the message says why."""


class Front:
    """The process that clients talk to: it can be killed and started again, held and let go on."""

    def __init__(self, launch: Callable[[], subprocess.Popen[bytes]], port: int) -> None:
        self._launch, self._port = launch, port
        self.process = launch()

    def start(self) -> None:
        """Start it again, and wait until it listens."""
        self.process = self._launch()
        self.wait()

    def wait(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not _listens(self._port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Unobtainable(f"nothing listens at port {self._port}: {self.process.args!r}")
            time.sleep(0.05)

    def kill(self) -> None:
        _stop(self.process)

    def hold(self) -> None:
        """It still has its connections, and takes new ones, but answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def let_go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class S3Server:
    port: int
    front: Front
    access_key: str = "test:tester"
    secret_key: str = "testing"
    region: str = "us-east-1"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self, bucket: str) -> None:
        """In virtual-host style the signer takes the endpoint for a bucket, so the key names ours."""
        root = S3Store(
            "none",
            endpoint=self.endpoint,
            virtual_hosted_style_request=True,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            region=self.region,
            client_options={"allow_http": True},
        )
        url = obstore.sign(root, "PUT", bucket, timedelta(minutes=1))
        with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30):
            pass


def s3_server() -> S3Server:
    """This process's server, started at its first use; skips the test where it cannot be had.

    STILLHOUSE_DEMAND_S3=1 turns the skip into a failure, for machines that are known to have it.
    """
    try:
        return _shared()
    except Unobtainable as error:
        if os.environ.get("STILLHOUSE_DEMAND_S3") == "1":
            raise
        pytest.skip(f"no real S3 server here: {error}")


@functools.cache
def _shared() -> S3Server:
    whole_run = ExitStack()
    atexit.register(whole_run.close)
    return whole_run.enter_context(running(object_requests_at_once=1))


@contextmanager
def running(object_requests_at_once: int) -> Iterator[S3Server]:
    programs = _installed()
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="stillhouse-swift-"))
        stack.callback(shutil.rmtree, directory)
        _demand_xattrs(directory)
        ports = free_ports(4)
        _configure(programs, directory, ports, object_requests_at_once)
        servers = [_start(programs, directory, name) for name in SERVERS[:3]]
        for server in servers:
            stack.callback(_stop, server)
        front = Front(lambda: _start(programs, directory, SERVERS[3]), ports[3])
        stack.callback(front.kill)
        _wait_until_all_listen(ports, [*servers, front.process], directory)
        yield S3Server(ports[3], front)


def _installed() -> Path:
    """The directory of Swift's programs, installed once per machine and kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhouse"
    home = cache / f"{PACKAGES[0].replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    ready = home / "ready"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "swift.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _run([sys.executable, "-m", "venv", "--clear", str(home)])
            _run([str(home / "bin" / "pip"), "install", "--quiet", *PACKAGES])
            ready.touch()
    return home / "bin"


def _demand_xattrs(directory: Path) -> None:
    try:
        os.setxattr(directory, "user.stillhouse", b"1")
    except OSError as error:
        raise Unobtainable(f"{directory} holds no user xattrs: {error}") from error


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _configure(programs: Path, directory: Path, ports: list[int], object_requests_at_once: int) -> None:
    (directory / "devices" / "disk").mkdir(parents=True)
    (directory / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = stillhouse\n")
    for name, port in zip(SERVERS, ports, strict=True):
        common = {
            "bind_ip": "127.0.0.1",
            "bind_port": port,
            "workers": 0,  # serve in the started process itself
            "max_clients": object_requests_at_once if name == "object" else 1024,
            "user": getpass.getuser(),
            "swift_dir": directory,
            "devices": directory / "devices",
            "mount_check": "false",
            "disable_fallocate": "true",
            "recon_cache_path": directory,
            "log_address": directory / "no-syslog",
        }
        settings = "".join(f"{key} = {value}\n" for key, value in common.items())
        rest = _PROXY if name == "proxy" else _BACKEND.format(name=name)
        (directory / f"{name}.conf").write_text(f"[DEFAULT]\n{settings}{rest}")
    _run([str(programs / "python"), "-c", _BUILD_RINGS, str(directory), *map(str, ports[:3])])


def _start(programs: Path, directory: Path, name: str) -> subprocess.Popen[bytes]:
    program = [str(programs / f"swift-{name}-server"), str(directory / f"{name}.conf")]
    with (directory / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [str(programs / "python"), "-W", "ignore", "-c", DIE_WITH_PARENT, *program],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()


def _wait_until_all_listen(ports: list[int], servers: list[subprocess.Popen[bytes]], directory: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_SECONDS
    while time.monotonic() < deadline and all(server.poll() is None for server in servers):
        if all(map(_listens, ports)):
            return
        time.sleep(0.05)
    logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(directory.glob("*.log")))
    raise Unobtainable(f"Swift did not come up\n{logs}")


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unobtainable(f"{command[0]} failed: {done.stderr[-2000:]}")
