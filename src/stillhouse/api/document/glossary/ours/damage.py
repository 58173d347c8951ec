"""Descriptions of the fields and parameters of ShowSnapshotDamage and ListDamage."""

TERMS: dict[str, tuple[str, str]] = {
    "damage": ("The known losses of the snapshot; null without a loss", ""),
    "Damages.snapshots": ("The snapshots with losses, the newest first", ""),
    "Damages.objects": ("The damaged objects of the repository", ""),
    "is_worked_out": (
        "Whether this is all; false while the losses of a new finding are not known yet",
        "true",
    ),
    "whole": ("Whether all of it is lost", "false"),
    "LostOfNode.files": ("The losses file by file; empty when the whole node is lost", ""),
    "more_files": ("Files that are not named; `stillhouse repo check --json` names all", "0"),
    "more_ranges": ("Ranges that are not named", "0"),
    "LostFile.path": (
        "The file, from the data directory on; percent-encoded where not printable",
        '"base/5/16384"',
    ),
    "LostFile.tablespace": (
        "Oid of the relation's tablespace; null for a file that is no relation's",
        "1663",
    ),
    "LostFile.database": ("Oid of the relation's database; null for a file that is no relation's", "5"),
    "LostFile.relation": ("The relation's file number; null for a file that is no relation's", "16384"),
    "LostFile.segment": ("Which file of the relation it is; null for a file that is no relation's", "0"),
    "blocks": ("First and last block, both included, counted from the beginning of the file", "[[0, 7]]"),
    "LostFile.bytes": ("First and last byte, both included, of a file that is not stored by pages", "[]"),
    "LostOfNode.node": ("Name of the node", '"dn1"'),
    "DamagedObject.key": (
        "Key of the object in the repository",
        '"c/6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4/packs/0a1b"',
    ),
    "DamagedObject.kind": ("missing, size, altered or inconsistent", '"altered"'),
    "DamagedObject.detail": ("The fault that was found", '"1 of 64 frames do not open"'),
    "costs": ("Whether something is lost that a restore needs", "true"),
    "found": ("Since when it is known: UTC", '"2026-11-20T08:14:51+00:00"'),
}
