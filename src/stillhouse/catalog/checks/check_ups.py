"""The latest check-up of each cluster whose servers are somebody's."""

from datetime import datetime

from sqlalchemy import select, update

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import clusters
from stillhouse.domain.registered.check_up import CheckUp, Finding, Weight


def put(transaction: Transaction, cluster_id: str, check_up: CheckUp) -> None:
    findings = [[one.node, one.weight.value, one.about, one.message, one.mend] for one in check_up.findings]
    document = {"time": check_up.time.isoformat(), "findings": findings}
    transaction.execute(update(clusters).where(clusters.c.id == cluster_id).values(check_up=document))


def latest(transaction: Transaction, cluster_id: str) -> CheckUp | None:
    document = transaction.execute(
        select(clusters.c.check_up).where(clusters.c.id == cluster_id)
    ).scalar_one()
    if not document:
        return None
    findings = tuple(
        Finding(node, Weight(weight), about, message, mend)
        for node, weight, about, message, mend in document["findings"]
    )
    return CheckUp(datetime.fromisoformat(document["time"]), findings)
