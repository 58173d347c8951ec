"""How far replay has come, read from a server's log as it grows."""

import threading
from pathlib import Path

import pytest

from stillhouse.errors import CatalogUnavailable
from stillhouse.warehouse.clone.replay import ReplayLog, watching

BEFORE = "2026-11-25 10:00:00.000 UTC [7] LOG:  redo starts at 0/1000000\n"
AT = "2026-11-25 16:00:00.000 UTC [9] LOG:  "


def add(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_it_is_followed_line_by_line_from_the_start_of_this_recovery(tmp_path: Path) -> None:
    log, target = tmp_path / "server.log", 0x1_0000_1000
    add(log, BEFORE)
    replay = ReplayLog(log)
    assert replay.look(target) is None
    add(log, f"{AT}starting backup recovery with redo LSN 1/0\n{AT}redo starts at 1/0\n{AT}redo in progr")
    assert replay.look(target) == (0, 0x1000)
    add(log, "ess, elapsed time: 0.50 s, current LSN: 1/00000800\n")
    assert replay.look(target) == (0x800, 0x1000)
    add(log, f"{AT}redo in progress, elapsed time: 1.00 s, current LSN: 1/2000\n")
    assert replay.look(target) == (0x1000, 0x1000), "never more than all"


def test_what_a_statement_says_is_not_the_servers_word(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    replay = ReplayLog(log)
    add(log, "2026 UTC [9] dbadmin@db ERROR:  redo starts at 1/0\n")
    assert replay.look(1 << 33) is None


def test_the_end_is_told_and_what_the_listener_raises_is_raised(tmp_path: Path) -> None:
    log, seen = tmp_path / "server.log", []
    with watching(log, 0x3000, lambda done, total: seen.append((done, total))):
        add(log, f"{AT}redo starts at 0/1000\n")
    assert seen[-1] == (0x2000, 0x2000)

    called = threading.Event()

    def refuse(done: int, total: int) -> None:
        called.set()
        raise CatalogUnavailable("gone")

    def recover() -> None:
        with watching(log, 0x3000, refuse):
            add(log, f"{AT}redo starts at 0/1000\n")
            assert called.wait(30)

    with pytest.raises(CatalogUnavailable):
        recover()
