"""`python -m stillhouse`: the command line."""

from stillhouse.cli.main import app

if __name__ == "__main__":
    app()
