"""The work of a replica that follows: it keeps up with the service that leads, and takes its place when that ends."""

import os
import signal
import threading
from collections.abc import Callable

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.catalog.installation import identity, news
from stillhouse.catalog.installation.hold import Hold
from stillhouse.catalog.schema.database import Database
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.replicas.following import Told
from stillhouse.durable.engine_tables import ENGINE
from stillhouse.durable.our_errors import in_our_errors
from stillhouse.errors import CatalogNotOurs, CatalogUnavailable, StillhouseError


def can_follow(database: Database) -> bool:
    """Tell whether a service of our own make leads: only then may we write what it reads, and it what we read.

    Raises CatalogNotOurs for a catalog of a newer version.
    """
    try:
        if not database.is_up_to_date():
            return False
        with database.reading() as reading:
            found = news.find(reading)
    except CatalogUnavailable:
        return False
    return found is not None and found.made_by == ENGINE


class Follower:
    """A thread that waits for the lead, and meanwhile hears the news every other second."""

    def __init__(self, place: FlowContext, hold: Hold, lead: Callable[[], None]) -> None:
        self._place, self._hold, self._lead = place, hold, lead
        self._number = 0
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Hear the news once, so that the first request is answered by them, and then again and again."""
        self._hear()
        self._thread.start()

    def stop(self) -> None:
        """Wait for the lead no more. A lead that is being taken is there on return."""
        self._hold.end()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            in_our_errors("following", self._follow)
        except StillhouseError as why:
            # Nobody else can lead while we have the lock: with the process it goes to another, or to our next start.
            log.get("service").error("this replica cannot take the lead, and ends", reason=str(why))
            os._exit(1)

    def _follow(self) -> None:
        if self._hold.await_turn(self._is_over):
            log.get("service").warning("no other service works on the catalog: this replica leads now")
            self._lead()

    def _is_over(self) -> bool:
        """Hear the news. Tell whether this replica may not go on, and see to its end."""
        try:
            self._hear()
        except CatalogUnavailable:
            self._place.control.following.leader = ""
        except CatalogNotOurs as gone:
            log.get("service").error("this replica ends", reason=gone.message, hint=gone.hint)
            os.kill(os.getpid(), signal.SIGTERM)
            return True
        return False

    def _hear(self) -> None:
        control = self._place.control
        control.database.is_up_to_date()
        with control.database.reading() as reading:
            identity.check_here(reading)
            is_new = news.number(reading) != self._number
            found = news.find(reading) if is_new else None
            known = clusters.all_clusters(reading) if is_new else []
        following = control.following
        following.leader = self._hold.leader
        if found is not None:
            self._number = found.number
            following.told = Told.of_document(found.told)
            nodes = [node for cluster in known for node in cluster.nodes]
            control.node_watch.hear(following.told.silent, nodes)
