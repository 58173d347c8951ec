"""Lines of the log are bounded, whatever strangers make it tell."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from stillhouse import log


@pytest.fixture(autouse=True)
def _for_this_test_alone() -> Iterator[None]:
    """Leave no logger to later tests that writes to this one's standard error, which is closed then."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_line_is_bounded_per_field_and_in_all(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    fields = {f"path{number}": "begin" + "a" * 100_000 + "end" for number in range(30)}
    log.get("api").info("answered", **fields, status=200, names=["b" * 100_000])
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert len(line) < 40_000
    assert told["status"] == 200 and told["event"] == "answered"
    assert told["path0"].startswith("begin") and told["path0"].endswith("end") and len(told["path0"]) < 2100


def test_an_error_s_last_words_stay(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    try:
        raise ValueError("a" * 100_000 + " is the last word")
    except ValueError:
        log.get("api").exception("bug")
    told = json.loads(capsys.readouterr().err)
    assert told["exception"].endswith("is the last word") and len(told["exception"]) < 17_000


_UNRULY = """
import logging, threading, warnings
from stillhouse import log
log.configure("INFO")
log.take_over()
logging.getLogger("library").warning("told by %s", "it")
logging.getLogger("library").info("not told")
warnings.warn("old")
def fail():
    raise ValueError("in a thread")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise ValueError("at the end")
"""


def test_libraries_warnings_and_uncaught_errors_have_the_form_of_all_lines() -> None:
    said = subprocess.run([sys.executable, "-c", _UNRULY], capture_output=True, text=True, check=False).stderr
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["component"] for line in lines] == ["library", "py.warnings", "service", "service"]
    assert lines[0]["event"] == "told by it"
    assert [line["exception"].splitlines()[-1] for line in lines[2:]] == [
        "ValueError: in a thread",
        "ValueError: at the end",
    ]
