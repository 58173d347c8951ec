"""The facts that a service tells when it is ready: its version and places, and the next thing to do."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from stillhouse import __version__, compiled, log
from stillhouse.catalog import clusters
from stillhouse.catalog.schema.place import place_of
from stillhouse.cli.terminal import command
from stillhouse.control.access.access_keys import list_access_keys
from stillhouse.control.context import Control
from stillhouse.domain.ids import new_hex
from stillhouse.workers.jobs import Repository

_DEFAULT_ADDRESS = "http://127.0.0.1:8080"


def facts(control: Control, repository: Repository, address: str) -> dict[str, str]:
    """Return the facts of a service that answers at `address`, a URL."""
    settings = control.settings
    with control.database.reading() as reading:
        number = len(clusters.all_clusters(reading))
    key_file = settings.kek_file or settings.data / "kek"
    said = {
        "version": __version__,
        "address": address,
        "public_address": settings.public_url,
        "data": str(settings.data.resolve()),
        "catalog": place_of(settings.catalog, settings.data.resolve()).shown,
        "repository": f"{repository.location} (id {repository.id})",
        "key": f"{key_file} (id {repository.kek.id}); keep a copy elsewhere",
        "clusters": str(number),
        "page_loops": "NumPy, which is slower" if compiled.loops is None else "compiled",
    }
    said |= _next(control, settings.public_url or address, number)
    return {name: value for name, value in said.items() if value}


def tell(said: Mapping[str, str]) -> None:
    """Print the facts for a person at a terminal; elsewhere they are a line of the log, in the form of all others."""
    if not sys.stdout.isatty():
        log.get("service").info("ready", **said)
        return
    places = {name: value for name, value in said.items() if name not in ("next", "command")}
    command.say("\nStillhouse is ready.\n")
    command.say_fields(places, as_json=False)
    command.say(f"\nNext, {said['next']}:\n  {said['command']}\n")
    sys.stdout.flush()


def _next(control: Control, address: str, number_of_clusters: int) -> dict[str, str]:
    """Return the next thing to do, and its command, as it can be typed."""
    program = (
        "stillhouse" if shutil.which("stillhouse") else str(Path(sys.executable).with_name("stillhouse"))
    )
    if all(key.disabled is not None for key in list_access_keys(control, "")):
        data = shlex.quote(str(control.settings.data.resolve()))
        return {
            "next": "make an access key of a project",
            "command": f"{program} key create --data {data} --project {new_hex()}",
        }
    endpoint = "" if address == _DEFAULT_ADDRESS else f" --endpoint {address}"
    if number_of_clusters == 0:
        return {
            "next": "make a cluster, with the access key in CLOUD_SDK_AK and CLOUD_SDK_SK",
            "command": f"{program} cluster create NAME --nodes 2{endpoint}",
        }
    return {"next": "look at the clusters", "command": f"{program} cluster list{endpoint}"}
