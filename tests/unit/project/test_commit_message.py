"""The commit-msg hook takes a message with a subject and a body, and refuses others."""

import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[3] / ".ci" / "check-message"


def _check(message: str, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    path = tmp_path / "COMMIT_EDITMSG"
    path.write_text(message)
    return subprocess.run([CHECK, path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "message",
    [
        "Locks have a folder\n\nThe root had eleven files.\n",
        "Locks have a folder\n# a comment of git's\n\nThe root had eleven files.\n# another\n",
        "Merge branch 'main'\n",
    ],
)
def test_a_message_with_a_reason_is_taken(message: str, tmp_path: Path) -> None:
    assert _check(message, tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", "subject is empty"),
        ("Locks have a folder\n", "a body must say why"),
        ("Locks have a folder\n\n# only a comment\n", "a body must say why"),
        ("Locks have a folder\nThe root had eleven files.\n", "second line must be empty"),
    ],
)
def test_a_message_without_a_reason_is_refused(message: str, told: str, tmp_path: Path) -> None:
    answer = _check(message, tmp_path)
    assert answer.returncode == 1
    assert told in answer.stderr
