"""What the benchmarks share: a server, a table whose pages change at random, what a restore would read."""

import json
import os
import platform
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.node.capture.task import Captured
from stillhouse.node.frames import Packs
from stillhouse.postgres.sessions import session
from stillhouse.repository.format import manifest, maps
from stillhouse.repository.format.maps import FrameRef, PagesEntry
from stillhouse.repository.format.sealed import Stored
from stillhouse.warehouse.cluster import embedded
from support.servers import warehouses
from support.snapshots.captures import Vault, open_vault

RESULTS = Path(__file__).parent / "results"
ROWS_PER_PAGE = 6
PAGE = 8192


@contextmanager
def server(pg_bin: Path | None = None) -> Iterator[tuple[embedded.Site, Cluster, Vault]]:
    """A single server and a repository, gone at the end."""
    root = Path(tempfile.mkdtemp(prefix="shb-", dir="/var/tmp"))
    root.chmod(0o755)
    site = embedded.open_site(root, pg_bin=pg_bin, claim=lambda _: "")
    cluster = warehouses.build(site, 1)
    try:
        tell(cluster.coordinator, "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
        yield site, cluster, open_vault(root, cluster)
    finally:
        embedded.destroy(site, cluster.id)
        shutil.rmtree(root)


def empty(place: Path) -> None:
    """Take back the space of what was restored there, and not the files, until the benchmark removes all it made:
    ext4 passes over inodes that were freed within the last minutes, one by one (fs/ext4/ialloc.c,
    recently_deleted), so the next restore would pay for the removal of this one.
    """
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)


def tell(node: Node, *statements: str) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def make_table(node: Node, pages: int) -> None:
    """Rows that compress about 2:1, with room on each page for an update of one row."""
    tell(
        node,
        "DROP TABLE IF EXISTS public.sized",
        "CREATE TABLE public.sized (id int, n int, filler text) WITH (fillfactor = 82)",
        "ALTER TABLE public.sized ALTER filler SET STORAGE PLAIN",
        # md5 in hex: 4 bits in each byte
        f"INSERT INTO public.sized SELECT i, 0, (SELECT string_agg(md5((i * 40 + k)::text), '')"
        f" FROM generate_series(1, 33) k WHERE i > 0) FROM generate_series(1, {pages * ROWS_PER_PAGE}) i",
        "CREATE INDEX ON public.sized (id)",
        "VACUUM (FREEZE, ANALYZE) public.sized",
        "CHECKPOINT",
    )


def change_pages(node: Node, pages: int, share: float, draw: random.Random) -> int:
    """Change one row on each of a random share of the table's pages; how many that are."""
    chosen = draw.sample(range(pages), int(pages * share))
    ids = ",".join(str(page * ROWS_PER_PAGE + 1 + draw.randrange(ROWS_PER_PAGE)) for page in chosen)
    tell(node, f"UPDATE public.sized SET n = n + 1 WHERE id = ANY('{{{ids}}}')")
    return len(chosen)


def read_by_restore(vault: Vault, captured: Captured) -> int:
    """Plain bytes of all frames that a restore of this capture's relations decodes."""
    return frames_read(vault, captured.manifest)


def frames_read(vault: Vault, stored: Stored) -> int:
    packs, entries, named = Packs(vault.store, vault.keys), dict[str, set[int]](), dict[str, Stored]()
    for line in manifest.read(vault.store, vault.keys, stored):
        if line["t"] == "pack":
            packs.expect(line["id"], line["size"], line["index"])
        elif line["t"] == "map":
            named[line["id"]] = Stored(line["id"], line["size"], line["hash"])
        elif line["t"] == "file" and line["map"]:
            entries.setdefault(line["map"], set()).add(line["entry"])
    used: set[FrameRef] = set()
    for map_id, wanted in entries.items():
        loaded = maps.load(vault.store, vault.keys, named[map_id])
        for number in wanted:
            entry = loaded.entries[number]
            if isinstance(entry, PagesEntry):
                used |= set(loaded.placed(entry).frames)
    return sum(packs.plain_size(ref) for ref in used)


def write_result(name: str, result: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    result = {"machine": f"{platform.machine()}, {platform.system()}", **result}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
