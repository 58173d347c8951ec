"""The program's entry. The first page of help is a file, since the libraries that lay it out take 0.3 s to import."""

import os
import sys

HELP = os.path.join(os.path.dirname(__file__), "cli", "help.txt")  # noqa: PTH118, PTH120 - pathlib takes 18 ms


def main() -> None:
    """Print the first page of help, or run the command line."""
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        with open(HELP, encoding="utf-8") as page:  # noqa: PTH123
            sys.stdout.write(page.read())
        return
    from stillhouse.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
