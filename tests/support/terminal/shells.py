"""bash, fish and zsh, which complete a line of `stillhouse` by its own scripts."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

_IN_BASH = """
source "$1"; shift
said=$(complete -p stillhouse); said=${said#*-F }; function=${said%% *}
COMP_WORDS=(stillhouse "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
"$function" stillhouse "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def write_scripts(place: Path) -> Path:
    """Fill a directory with the script of each shell, under the name that zsh wants."""
    for name in ("bash", "zsh", "fish"):
        command = [sys.executable, "-m", "stillhouse", "completion", name]
        (place / name).mkdir()
        with (place / name / "_stillhouse").open("wb") as script:
            subprocess.run(command, check=True, stdout=script)
    return place


def completed_by_bash(scripts: Path, typed: str, environment: Mapping[str, str] = os.environ) -> set[str]:
    command = [_shell("bash"), "--norc", "-c", _IN_BASH, "-", str(scripts / "bash" / "_stillhouse")]
    done = subprocess.run(
        [*command, *typed.split(" ")], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stderr == ""
    return {*done.stdout.split()}


def completed_by_fish(
    scripts: Path, home: Path, typed: str, environment: Mapping[str, str] = os.environ
) -> set[str]:
    done = subprocess.run(
        [
            _shell("fish"),
            "--no-config",
            "-c",
            f"source {scripts}/fish/_stillhouse; complete -C 'stillhouse {typed}'",
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**environment, "HOME": str(home)},
        cwd=home,  # fish offers files beside them, and here are none
    )
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


def shown_by_zsh(
    scripts: Path, home: Path, typed: str, wanted: set[str], environment: Mapping[str, str] = {}
) -> str:
    """Return what zsh shows until all that is wanted has come.

    It has completion only at a terminal. Tab writes the only word that fits, and lists several.
    """
    (home / ".zshrc").write_text(
        f"fpath=({scripts}/zsh $fpath); autoload -U compinit; compinit -u -D\n"
        "PS1='ready>'; LISTMAX=0; setopt no_beep\n"
    )
    own = {"HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm", "PATH": ""}
    return _at_a_terminal(
        [_shell("zsh"), "-d", "-i"], f"stillhouse {typed}\t\t", wanted, own | {**environment}
    )


def _shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _at_a_terminal(command: list[str], typed: str, wanted: set[str], environment: dict[str, str]) -> str:
    """Type at a shell's first prompt, and return what it shows after that."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], command, environment)
    said = ""
    try:
        while "ready>" not in said:
            said += os.read(terminal, 4096).decode()
        os.write(terminal, typed.encode())
        said = ""
        while not all(re.search(rf"(?<![a-z-]){word}(?![a-z-])", said) for word in wanted):
            said += os.read(terminal, 4096).decode()
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
    return said
