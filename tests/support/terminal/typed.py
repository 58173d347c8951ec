"""Commands as an operator types them, to a service that runs as a program of its own."""

import os
import signal
import subprocess

from support.processes.service import COMMAND, Service


def typed(service: Service, *words: str) -> tuple[int, str]:
    """Run a command; its exit code, and all that it says."""
    done = subprocess.run(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        env=_environment(service),
    )
    return done.returncode, done.stdout


def interrupted(service: Service, *words: str, shows: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, and press Ctrl-C when it shows this; its exit code, and what it says."""
    ours, its = os.openpty()
    running = subprocess.Popen(
        [*COMMAND, *words], stdin=subprocess.DEVNULL, stdout=its, stderr=its, env=_environment(service)
    )
    os.close(its)
    said = b""
    while part := _read(ours):
        was_shown = shows.encode() in said
        said += part
        if shows.encode() in said and not was_shown:
            running.send_signal(signal.SIGINT)
    os.close(ours)
    return running.wait(), said.decode()


def _read(terminal: int) -> bytes:
    """Return what is shown next; nothing at the end, which a terminal on Linux tells as an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def _environment(service: Service) -> dict[str, str]:
    return os.environ | service.client().environment | {"TERM": "xterm", "COLUMNS": "400"}
