"""The timer's duty on clusters that were deleted while another host led: what is left of them on this host is removed.

A deletion must not wait for a host that may be gone for good. So the service that leads ends it, and the host of the
servers removes them when it hears of it, also when it comes back after days.
"""

from datetime import datetime
from functools import partial

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import Beside
from stillhouse.warehouse.cluster import embedded


class Leavings:
    """Each cluster's files go in a thread of their own: servers may take a while to end."""

    def __init__(self) -> None:
        self._work = Beside("leavings")

    def __call__(self, place: FlowContext, now: datetime) -> None:
        here = {one.name for one in place.site.clusters.iterdir()}
        if not here:
            return
        with place.control.database.reading() as reading:
            # One that the catalog does not know is left alone: it may be another installation's.
            deleted = clusters.deleted_of(reading, here)
        for cluster_id in sorted(deleted):
            self._work.begin(
                cluster_id, "remove what is left of a deleted cluster", partial(_remove, place, cluster_id)
            )


def _remove(place: FlowContext, cluster_id: str) -> None:
    embedded.destroy(place.site, cluster_id)
    log.get("cluster").warning("removed what was left here of a cluster that was deleted", cluster=cluster_id)
