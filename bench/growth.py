"""Many snapshots, each after 1 % of the pages changed at random: what each stores, and what restoring it reads.

Run by `make bench-growth`. Twice: bounded by recapture above 1.5x alone, and with every 16th capture whole as well.
"""

import argparse
import random
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from measure import PAGE, RESULTS, change_pages, make_table, read_by_restore, server, write_result
from rich.progress import track
from rows import hold_to, save

from support.snapshots.captures import capture_cluster

SHARE = 0.01


def run(pages: int, snapshots: int, whole_every: int, seed: int) -> list[dict[str, Any]]:
    """A row for each snapshot; `whole_every` 0 = only the first is asked to be whole."""
    draw = random.Random(seed)
    rows = []
    with server() as (_, cluster, vault):
        node, base = cluster.coordinator, None
        make_table(node, pages)
        for number in track(range(snapshots), f"whole every {whole_every or 'never'}"):
            changed = change_pages(node, pages, SHARE, draw) if number else pages
            is_whole = bool(whole_every) and number % whole_every == 0
            base = capture_cluster(cluster, vault, base=None if is_whole else base)
            captured = base.captured[node.name]
            rows.append(
                {
                    "snapshot": number + 1,
                    "changed_pages": changed,
                    "pages_stored": captured.pages_stored,
                    "stored_bytes": captured.stored_bytes,
                    "live_bytes": captured.plain_bytes,
                    "bytes_to_restore": read_by_restore(vault, captured),
                    "files": captured.files,
                }
            )
    return rows


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of the snapshots after the first: pages stored for each page changed, and the worst restore."""
    later = rows[1:]
    return {
        "pages_stored_per_changed_page": sum(row["pages_stored"] for row in later)
        / sum(row["changed_pages"] for row in later),
        "most_read_per_live_byte": max(row["bytes_to_restore"] / row["live_bytes"] for row in rows),
        "last_read_per_live_byte": rows[-1]["bytes_to_restore"] / rows[-1]["live_bytes"],
    }


def draw_plot(series: dict[str, list[dict[str, Any]]], target: Path) -> None:
    mpl.use("Agg")
    figure, (stored, read) = plt.subplots(2, 1, figsize=(9, 7), sharex=True, layout="constrained")
    for name, rows in series.items():
        numbers = [row["snapshot"] for row in rows]
        stored.step(numbers, [row["pages_stored"] * PAGE / 1e6 for row in rows], where="mid", label=name)
        read.plot(numbers, [row["bytes_to_restore"] / row["live_bytes"] for row in rows], label=name)
    stored.set_yscale("log")
    stored.set_ylabel("MB stored, before compression")
    read.set_ylabel("bytes read to restore / live bytes")
    read.axhline(1.5, color="grey", linestyle=":", label="bound of a relation segment")
    read.set_xlabel("snapshot, each after 1 % of the pages changed at random")
    for axes in (stored, read):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=25_000)
    parser.add_argument("--snapshots", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    series = {
        "recapture above 1.5x only": run(arguments.pages, arguments.snapshots, 0, arguments.seed),
        "and every 16th whole": run(arguments.pages, arguments.snapshots, 16, arguments.seed),
    }
    summary = {
        f"{name}, first {count}": figures(rows[:count])
        for name, rows in series.items()
        for count in (50, 100)
        if count <= arguments.snapshots
    }
    last = min(arguments.snapshots, 50)
    first = figures(series["recapture above 1.5x only"][:last])
    one = series["recapture above 1.5x only"][1]
    save(
        [
            hold_to(
                "bytes stored by one incremental, before compression, by its changed pages",
                1.2,
                "times",
                [one["pages_stored"] / one["changed_pages"]],
            ),
            hold_to(
                f"bytes stored by {last} incrementals, before compression, by their changed pages",
                3.0,
                "times",
                [first["pages_stored_per_changed_page"]],
            ),
            hold_to(
                f"bytes read to restore the {last}th, by its live bytes",
                1.5,
                "times",
                [first["last_read_per_live_byte"]],
            ),
        ]
    )
    write_result("growth", {"pages": arguments.pages, "summary": summary, "series": series})
    draw_plot(series, RESULTS / "growth.png")
    for name, row in summary.items():
        print(name, {field: round(value, 3) for field, value in row.items()})


if __name__ == "__main__":
    main()
