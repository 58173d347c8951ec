"""Rows of `bench/results/latest.json`: ratios with their spread, above 1 where they are better than they must be."""

import json
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from measure import RESULTS
from rich.console import Console
from rich.table import Table
from spent import Spent

MACHINE = f"{platform.machine()}, 2 cores"

Row = dict[str, Any]
Work = Callable[[], Spent]
console = Console(width=150)


def pair_up(
    name: str,
    peer: str,
    must: float,
    ours: Work,
    theirs: Work,
    runs: int,
    before: Callable[[], object] = lambda: None,
) -> Row:
    """The median of the pairs' ratios, theirs by ours in seconds.

    Each pair is in the other order than the one before; the first is for warming up.
    """
    pairs: list[tuple[Spent, Spent]] = []
    for number in range(runs + 1):
        before()
        if number % 2:
            pair = (ours(), theirs())
        else:
            second = theirs()
            pair = (ours(), second)
        if number:
            pairs.append(pair)
    row = _row(name, peer, must, [theirs.seconds / ours.seconds for ours, theirs in pairs])
    return row | {
        "ours": medians([ours for ours, _ in pairs]),
        "theirs": medians([theirs for _, theirs in pairs]),
        "our_seconds": [round(ours.seconds, 3) for ours, _ in pairs],
    }


def hold_to(name: str, limit: float, unit: str, measured: Sequence[float], must: float = 1.0) -> Row:
    """A figure of ours beside the most that it may be."""
    row = _row(name, f"at most {limit:g} {unit}", must, [limit / one for one in measured])
    return row | {"unit": unit, "measured": round(statistics.median(measured), 4)}


def _row(name: str, peer: str, must: float, ratios: Sequence[float]) -> Row:
    row = {
        "name": name,
        "peer": peer,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "must": must,
        "runs": len(ratios),
        "machine": MACHINE,
        "date": datetime.now(UTC).date().isoformat(),
    }
    console.print(f"{name}: {row['ratio']}x {peer} ({row['ratio_min']}-{row['ratio_max']}), must {must:g}")
    return row


def medians(runs: Sequence[Spent]) -> dict[str, float]:
    fields = [asdict(one) for one in runs]
    return {name: round(statistics.median(one[name] for one in fields), 3) for name in fields[0]}


def save(rows: Sequence[Row]) -> None:
    """Into the table, in place of earlier rows of the same work and peer; then draw it anew."""
    path = RESULTS / "latest.json"
    known: list[Row] = json.loads(path.read_text())["rows"] if path.exists() else []
    table = {(row["name"], row["peer"]): row for row in [*known, *rows]}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"rows": list(table.values())}, indent=1) + "\n")
    show(rows)
    draw_plot(list(table.values()))


def show(rows: Sequence[Row]) -> None:
    table = Table("work", "peer", "ratio", "least-greatest", "must", "ours: s / CPU s / MiB / MB", "theirs")
    for row in rows:
        table.add_row(
            row["name"], row["peer"], f"{row['ratio']:.2f}", f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}",
            f"{row['must']:g}", _ours(row), _cost(row.get("theirs")),
        )  # fmt: skip
    console.print(table)


def _ours(row: Row) -> str:
    return _cost(row.get("ours")) or f"{row['measured']:g} {row['unit']}"


def _cost(spent: dict[str, float] | None) -> str:
    if spent is None:
        return ""
    return (
        f"{spent['seconds']:.2f} / {spent['cpu_seconds']:.2f} / {spent['peak_bytes'] / 2**20:.0f}"
        f" / {spent['stored_bytes'] / 1e6:.0f}"
    )


def draw_plot(rows: Sequence[Row]) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(10, 0.5 * len(rows) + 1.5), layout="constrained")
    names = [f"{row['name']}\nagainst {row['peer']}" for row in rows]
    places = range(len(rows))
    ratios = [row["ratio"] for row in rows]
    spread = [
        [row["ratio"] - row["ratio_min"] for row in rows],
        [row["ratio_max"] - row["ratio"] for row in rows],
    ]
    axes.barh(places, ratios, xerr=spread, color="tab:blue", ecolor="0.4", capsize=2)
    axes.scatter(
        [row["must"] for row in rows], places, marker="|", s=260, color="tab:red", label="must", zorder=3
    )
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.set_yticks(places, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times better than the peer, or than the limit (median, least and greatest)")
    axes.legend()
    figure.savefig(RESULTS / "latest.png", dpi=130)
    plt.close(figure)
