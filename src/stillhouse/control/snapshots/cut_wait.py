"""Adds up the time that a snapshot has waited for its cut, over all its attempts, in the catalog."""

from stillhouse.catalog import captures
from stillhouse.control.context import Control
from stillhouse.errors import CutFailed


class CutWait:
    """The waiting of one attempt, from when all its bases are ready to its cut or its end.

    It is added to the snapshot's account at every `note`, so a service that is killed loses no more than the last try.
    Time does not count while nodes are copied, or while no service runs.
    """

    def __init__(self, control: Control, snapshot_id: str) -> None:
        self._control, self._snapshot = control, snapshot_id
        self._noted = control.clock.monotonic()
        with control.database.reading() as reading:
            self.before = captures.cut_waited(reading, snapshot_id)

    def note(self) -> None:
        now = self._control.clock.monotonic()
        self._add(now - self._noted)
        self._noted = now

    def use_up(self) -> None:
        """Count the whole deadline as used: less of it is left than a pause between two tries takes."""
        self._add(self._control.settings.cut_deadline_seconds)

    def _add(self, seconds: float) -> None:
        with self._control.database.transaction() as transaction:
            captures.add_cut_wait(transaction, self._snapshot, seconds)


def check_deadline(control: Control, snapshot_id: str) -> None:
    """Raise CutFailed if earlier attempts have used the deadline up: another would copy all nodes in vain."""
    deadline = control.settings.cut_deadline_seconds
    with control.database.reading() as reading:
        attempts = captures.latest_attempt(reading, snapshot_id)
        waited = captures.cut_waited(reading, snapshot_id)
    if attempts and waited >= deadline:
        raise CutFailed(
            f"no consistent cut within {deadline:g} s of waiting, over {attempts} attempts",
            hint="find what holds up the distributed writes of the cluster, or allow more time",
        )
