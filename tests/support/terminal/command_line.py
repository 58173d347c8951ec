"""The command line in an operator's environment, which asks a service that runs in this process."""

import sys
from collections.abc import Callable
from datetime import UTC

import pytest

from stillhouse.cli.main import app
from stillhouse.cli.service import client
from stillhouse.cli.terminal import command, times
from support.api.application import PROJECT, Service

Said = tuple[int, str, str]
Run = Callable[..., Said]


def operator(service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command: exit code, standard output, standard error."""
    monkeypatch.setenv("STILLHOUSE_ENDPOINT", service.endpoint)
    monkeypatch.setenv("STILLHOUSE_PROJECT", PROJECT)
    monkeypatch.setenv("CLOUD_SDK_AK", service.client.access_key)
    monkeypatch.setenv("CLOUD_SDK_SK", service.client.secret_key)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(times, "_zone", [UTC])
    monkeypatch.setattr(client, "_POLL_SECONDS", 0.01)

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(command.os, "_exit", leave)  # type: ignore[attr-defined]

    def call(*words: str) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["stillhouse", *words])
        try:
            app(list(words), result_action="return_value")
            code = 0
        except SystemExit as ended:
            code = int(str(ended.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
