"""Ask for a password. It is never taken from the command line, which everyone on the host can read."""

import getpass
import os
import sys


def ask(variable: str, whose: str) -> str:
    """Return the password in the environment's variable, or else ask for it: without a terminal it is the next line."""
    given = os.environ.get(variable)
    if given is not None:
        return given
    return getpass.getpass(f"Password of {whose}: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
