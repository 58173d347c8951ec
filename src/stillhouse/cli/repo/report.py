"""Prints the results of repository checks: one JSON object for programs, words and a table for people."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.table import Table

from stillhouse.api.shapes.ours.damage import printable
from stillhouse.domain.relation_files import relation_file
from stillhouse.domain.reports.damage import FileTouched, Ranges, SnapshotTouched
from stillhouse.domain.reports.sizes import said_size
from stillhouse.repository.check.damage import Damage
from stillhouse.repository.check.report import ClusterReport, SnapshotReport
from stillhouse.repository.check.stats import ClusterFigures, SnapshotFigures

Json = dict[str, Any]

_FILES_SHOWN = 20  # of one node; all of them are in the JSON


def report_json(reports: list[ClusterReport]) -> Json:
    return {
        "damages": sum(len(report.damages) for report in reports),
        "clusters": [
            {
                "cluster": report.cluster,
                "damages": [_damage_json(damage) for damage in report.damages],
                "notices": list(report.notices),
                "snapshots": [_snapshot_json(snapshot) for snapshot in report.snapshots],
                "packs": report.packs,
                "packs_read": report.packs_read,
                "bytes_read": report.bytes_read,
                "unreached": {"objects": report.unreached, "bytes": report.unreached_bytes},
            }
            for report in reports
        ],
    }


def _snapshot_json(snapshot: SnapshotReport) -> Json:
    return {
        "snapshot": snapshot.snapshot,
        "name": snapshot.name,
        "in_trash": snapshot.in_trash,
        "packs": snapshot.packs,
        "oldest_scrub": _time(snapshot.oldest_scrub),
        "overdue_packs": list(snapshot.overdue),
    }


def _damage_json(damage: Damage) -> Json:
    return {
        "kind": damage.kind,
        "key": damage.key,
        "detail": damage.detail,
        "touches": [_touched_json(snapshot) for snapshot in damage.touches],
    }


def _touched_json(snapshot: SnapshotTouched) -> Json:
    """Return a snapshot's losses as JSON; `whole` if it is lost as a whole."""
    told: Json = {"snapshot": snapshot.snapshot, "name": snapshot.name}
    if snapshot.nodes is None:
        return {**told, "whole": True}
    nodes = [
        {"node": node.node, "whole": True}
        if node.files is None
        else {"node": node.node, "files": [_file_json(file) for file in node.files]}
        for node in snapshot.nodes
    ]
    return {**told, "nodes": nodes}


def _file_json(file: FileTouched) -> Json:
    told: Json = {"path": printable(file.path)}
    if (relation := relation_file(file.path)) is not None:
        told |= {
            "tablespace": relation.tablespace,
            "database": relation.database,
            "relation": relation.relation,
            "segment": relation.segment,
        }
    if file.blocks:
        return {**told, "blocks": [list(one) for one in file.blocks]}
    if file.bytes:
        return {**told, "bytes": [list(one) for one in file.bytes]}
    return {**told, "whole": True}


def report_words(reports: list[ClusterReport]) -> Iterator[str]:
    for report in reports:
        read = (
            f", {report.packs_read} read whole ({said_size(report.bytes_read)})" if report.packs_read else ""
        )
        yield f"cluster {report.cluster}: {len(report.snapshots)} snapshots, {report.packs} packs{read}"
        for snapshot in report.snapshots:
            overdue = f", {len(snapshot.overdue)} overdue" if snapshot.overdue else ""
            trash = ", in the trash" if snapshot.in_trash else ""
            yield (
                f"  snapshot {snapshot.snapshot} {snapshot.name}: {snapshot.packs} packs, all read since"
                f" {_time(snapshot.oldest_scrub) or 'never'}{overdue}{trash}"
            )
        if report.unreached:
            size = said_size(report.unreached_bytes)
            yield f"  {report.unreached} objects ({size}) are reached by no snapshot: a collection's, no damage"
        for notice in report.notices:
            yield f"  note: {notice}"
        for damage in report.damages:
            yield from _damage_words(damage)
    count = sum(len(report.damages) for report in reports)
    yield f"{count} damaged objects" if count else "no damage found"


def _damage_words(damage: Damage) -> Iterator[str]:
    yield f"  DAMAGE ({damage.kind}): {damage.key} {damage.detail}"
    if not damage.touches:
        yield "    costs nothing that a restore needs"
    for snapshot in damage.touches:
        named = f"snapshot {snapshot.snapshot} {snapshot.name}".rstrip()
        if snapshot.nodes is None:
            yield f"    {named}: lost"
        for node in snapshot.nodes or ():
            if node.files is None:
                yield f"    {named}: node {node.node} is lost"
                continue
            yield f"    {named}: node {node.node}, {len(node.files)} files:"
            for file in node.files[:_FILES_SHOWN]:
                yield f"      {_file_words(file)}"
            if len(node.files) > _FILES_SHOWN:
                yield f"      and {len(node.files) - _FILES_SHOWN} more: --json names all"


def _file_words(file: FileTouched) -> str:
    what = f"blocks {_ranges(file.blocks)}" if file.blocks else f"bytes {_ranges(file.bytes)}"
    relation = relation_file(file.path)
    of = f" (database {relation.database}, relation {relation.relation})" if relation else ""
    return f"{printable(file.path)}{of}: {what if file.blocks or file.bytes else 'all of it'}"


def _ranges(ranges: Ranges) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def figures_json(figures: list[ClusterFigures]) -> Json:
    def times(row: SnapshotFigures) -> Json:
        return {**asdict(row), "oldest_scrub": _time(row.oldest_scrub)}

    clusters = [{**asdict(one), "snapshots": [times(row) for row in one.snapshots]} for one in figures]
    return {"clusters": clusters, "total": _totals(figures)}


def _totals(figures: list[ClusterFigures]) -> Json:
    return {
        "snapshots": sum(len(one.snapshots) for one in figures),
        **{
            name: sum(getattr(one, name) for one in figures)
            for name in ("objects", "stored", "trash", "unreached", "unreached_bytes")
        },
    }


def figures_table(one: ClusterFigures) -> Table:
    table = Table(title=f"cluster {one.cluster}", title_justify="left")
    for name in ("snapshot", "name"):
        table.add_column(name)
    for name in ("live", "stored", "shared", "own", "packs", "held/live", "all read since", "overdue"):
        table.add_column(name, justify="right")
    for row in one.snapshots:
        table.add_row(
            row.snapshot,
            f"{row.name}{' (trash)' if row.in_trash else ''}",
            *map(said_size, (row.live, row.stored, row.shared, row.own)),
            str(row.packs),
            f"{row.fragmentation:.2f}",
            row.oldest_scrub.date().isoformat() if row.oldest_scrub else "never",
            str(row.overdue_packs),
        )
    return table


def figures_words(one: ClusterFigures) -> str:
    return (
        f"{one.objects} objects, {said_size(one.stored)}; {said_size(one.trash)} are the trash's alone;"
        f" {said_size(one.unreached_bytes)} in {one.unreached} objects are reached by no snapshot"
        + ("" if one.is_whole else "; some of it is damaged, so that figures are too low: run `repo check`")
    )


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")
