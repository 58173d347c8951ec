"""`docs/settings.md`: every setting, generated from `stillhouse.config`. `make settings-docs` writes it."""

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from stillhouse.cli.terminal.settings import OF_COMMANDS
from stillhouse.config import Settings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"

# The first setting of each section.
_SECTIONS = {
    "data": "Places and logs",
    "listen": "Address and proxies",
    "max_connections": "Limits of callers",
    "pg_bin": "Servers of clusters",
    "capture_workers": "Snapshots",
    "timer_seconds": "Upkeep",
}
_TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}

_HEAD = """# Settings

Generated from the code by `make settings-docs`.

A setting is said in one of three places. A flag of `stillhouse serve` wins over the environment, and the environment
over a TOML file:

```toml
# stillhouse serve --config stillhouse.toml, or STILLHOUSE_CONFIG=stillhouse.toml
data = "/var/lib/stillhouse"
listen = "127.0.0.1:8080"
repository = "s3://bucket/prefix"
trash_days = 14
```

In the file a setting has the name below; in the environment the same in capitals behind `STILLHOUSE_`: `trash_days` is
`STILLHOUSE_TRASH_DAYS`. The flags are `--data`, `--config`, `--catalog`, `--listen`, `--tls-cert`, `--tls-key`,
`--insecure` and `--public-url`. Paths that are not absolute begin at the working directory. The file is read by `serve`
and by all commands that take `--data`; commands on a repository alone read the environment.

An unknown name in the file is refused, and so is an unknown variable that begins with `STILLHOUSE_`: a misspelt setting
would not hold. Variables that Kubernetes makes for a Service named stillhouse are passed over.

Logs go to standard error, one JSON object a line. When the service is ready it tells its version, address, data
directory, catalog, repository, key and the next thing to do: in words on a terminal, else in a line of the log.
"""


def page() -> str:
    """Return the whole page as it should be."""
    text = _HEAD
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            text += f"\n## {_SECTIONS[name]}\n\n| Setting | Value | Default | Meaning |\n|---|---|---|---|\n"
        text += f"| `{name}` | {_value(field)} | {_default(field)} | {field.description} |\n"
    text += "\n## Variables of the commands\n\n| Variable | Meaning |\n|---|---|\n"
    for name, meaning in OF_COMMANDS.items():
        text += f"| `{name}` | {meaning[:1].upper()}{meaning[1:]}. |\n"
    return text


def _value(field: FieldInfo) -> str:
    bounds = {
        type(bound).__name__: getattr(bound, type(bound).__name__.lower(), None) for bound in field.metadata
    }
    told = _type(field.annotation)
    least, most = bounds.get("Ge"), bounds.get("Le")
    if "Gt" in bounds:
        told += f", more than {bounds['Gt']}"
    elif least is not None:
        told += f", {least} or more" if most is None else f", {least} to {most}"
    return told


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" if choice else "empty" for choice in get_args(annotation))
    kinds = [kind for kind in get_args(annotation) or [annotation] if kind is not type(None)]
    return _TYPES[kinds[0].__name__]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    if field.default in (None, ""):
        return "unset"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"written: {PAGE.name}\n")
