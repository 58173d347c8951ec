"""The commands below `stillhouse repo`, put together."""

from stillhouse.cli.repo import check, collect, copy, keys, recover
from stillhouse.cli.repo.app import repo

for each in (
    check.check,
    check.verify,
    check.stats,
    collect.collect,
    keys.key,
    keys.shred,
    recover.snapshots,
    recover.restore,
    copy.copy,
    recover.rebuild_catalog,
):
    repo.command(each)
