"""Parts: the work of an attempt so far, saved as a base for the next attempt."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from stillhouse.errors import CaptureInterrupted, StillhouseError
from stillhouse.node.capture.ancestry import pass_mark
from stillhouse.node.capture.copying import Copy
from stillhouse.node.capture.task import CaptureTask, Conductor
from stillhouse.postgres.sessions import session
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import Line
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.storage.store import ObjectStore


class Parts:
    """Saves an attempt's work now and then, so that the next attempt can build on it if this one fails."""

    def __init__(
        self,
        task: CaptureTask,
        lineage: str,
        copy: Copy,
        manifest: ManifestWriter,
        head: Callable[..., Iterator[Line]],
        store: ObjectStore,
        keys: ClusterKeys,
        conductor: Conductor,
    ) -> None:
        self._task, self._lineage = task, lineage
        self._copy, self._manifest, self._head = copy, manifest, head
        self._store, self._keys, self._conductor = store, keys, conductor
        self._last = 0

    def save_when_due(self, done: int) -> None:
        """Save a part when enough was read since the last one. It holds only the work that is durable already."""
        if done - self._last >= self._task.part_bytes:
            self._last = done
            self._save()

    def save_all(self) -> None:
        self._copy.settle_what_can_be()
        self._save()

    def save_what_is_lost(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Save a part when the attempt ends with an error that may pass. Errors of saving are ignored."""
        if isinstance(error, CaptureInterrupted | session.Error):
            with suppress(StillhouseError, session.Error):
                self.save_all()

    def _save(self) -> None:
        """Mark the node, then store the part: a part is only usable if the node is known to have come that far."""
        passed = pass_mark(self._task.node, self._lineage)
        if passed.unmarked:
            return
        head = self._head(reached=passed.lsn)
        if (part := self._manifest.store_part(self._store, self._keys, head)) is not None:
            self._conductor.saved(part)
