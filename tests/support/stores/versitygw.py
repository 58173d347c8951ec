"""A second real S3 server for tests: Versity's gateway over a directory, built by the Go toolchain.

It serves many requests at once and decides a conditional create within the file system. Of SDKs it checks more than
Swift does: checksums, the signature of each chunk.
"""

import atexit
import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.stores.s3_server import Front, S3Server, Unobtainable, free_ports

PACKAGE, VERSION = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"
_BUILD_SECONDS = 280
_ACCESS_KEY, _SECRET_KEY = "tester", "testing-testing"


def versitygw() -> S3Server:
    """This process's gateway, started at its first use. Skips the test without Go, and fails then where CI=true."""
    try:
        return _shared()
    except Unobtainable as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no versitygw here: {error}")


@functools.cache
def _shared() -> S3Server:
    whole_run = ExitStack()
    atexit.register(whole_run.close)
    return whole_run.enter_context(running())


@contextmanager
def keeping_versions() -> Iterator[S3Server]:
    """A gateway of one's own whose buckets may keep versions, and so lock objects. Skips as `versitygw` does."""
    with ExitStack() as stack:
        versions = stack.enter_context(tempfile.TemporaryDirectory(prefix="stillhouse-versions-"))
        try:
            server = stack.enter_context(running("--versioning-dir", versions))
        except Unobtainable as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no versitygw here: {error}")
        yield server


@contextmanager
def running(*options: str) -> Iterator[S3Server]:
    program = _built()
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="stillhouse-versitygw-"))
        stack.callback(shutil.rmtree, directory)
        (port,) = free_ports(1)
        front = Front(lambda: _launch(program, directory, port, options), port)
        stack.callback(front.kill)
        front.wait()
        yield S3Server(port, front, _ACCESS_KEY, _SECRET_KEY)


def _launch(program: Path, directory: Path, port: int, options: Sequence[str]) -> subprocess.Popen[bytes]:
    # The kernel ends it with the thread that started it: a server must not outlive a killed test run.
    command = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        str(program),
        "--port",
        f"127.0.0.1:{port}",
        "posix",
        *options,
        str(directory),
    ]
    keys = {"ROOT_ACCESS_KEY": _ACCESS_KEY, "ROOT_SECRET_KEY": _SECRET_KEY}
    return subprocess.Popen(
        command,
        env=os.environ | keys,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _built() -> Path:
    """The program, built once per machine and kept."""
    go = shutil.which("go")
    if go is None:
        raise Unobtainable("there is no Go toolchain")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhouse"
    home = cache / f"versitygw-{VERSION}"
    home.mkdir(parents=True, exist_ok=True)
    with (cache / "versitygw.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "versitygw").exists():
            done = subprocess.run(
                [go, "install", f"{PACKAGE}@{VERSION}"],
                env=os.environ | {"GOBIN": str(home), "GOFLAGS": "-p=2"},
                capture_output=True,
                text=True,
                check=False,
                timeout=_BUILD_SECONDS,
            )
            if done.returncode != 0:
                raise Unobtainable(f"go install failed: {done.stderr[-2000:]}")
    return home / "versitygw"
