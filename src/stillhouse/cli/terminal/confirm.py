"""Ask before something that cannot be undone."""

import sys

from stillhouse.errors import InvalidInput


def demand(what: str, name: str, *, yes: bool, as_json: bool = False) -> None:
    """Return if the user types the name, or said `yes` beforehand. Raises InvalidInput otherwise.

    `what` describes the results in whole sentences. It is told on standard error, to people who said yes too.
    """
    if yes and as_json:
        return
    sys.stderr.write(what.rstrip("\n") + "\n")
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(
            "nothing was done: nobody is at the terminal to confirm it",
            hint="--yes goes ahead without a question",
        )
    sys.stderr.write(f"Type {name} to go ahead: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != name:
        raise InvalidInput("nothing was done: another name was typed")
