"""Named flows over the workflow engine: enqueued with a row, carried on after kill -9, drained at shutdown.

A flow is a plain function `flow(run, subject_id)`. It decides only by the results of its steps: after a crash it runs
again from the top, and finished steps return their recorded results.
"""

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions, StepOptions, WorkflowHandle, error

from stillhouse import log
from stillhouse.durable.at_work import MOST_COUNTED, AtWork, Load, Running, load_of
from stillhouse.durable.engine_log import forward_engine_log
from stillhouse.durable.engine_looks import SELDOM_SECONDS, Looks
from stillhouse.durable.our_errors import in_our_errors, result_of
from stillhouse.durable.plain_json import PlainJson, dump
from stillhouse.errors import CatalogUnavailable, ShuttingDown, StillhouseError

P = ParamSpec("P")
# The results of steps and flows: ids and figures, stored in the clear. Never secrets, never page lists.
JsonT = TypeVar("JsonT", bound=bool | int | float | str | list[Any] | dict[str, Any] | None)

_APPLICATION = "stillhouse"
# A flow in flight goes on only under the version under which it began. The engine's default, a hash of the source,
# would strand flows at every edit. Change this only together with steps that old flows cannot replay.
_VERSION = "stillhouse-1"
# Only enqueued flows wait in this queue. Children start at once, outside the queue and without limit: behind parents
# that wait for them, they would never start.
_QUEUE = "flows"
_AT_ONCE = 64
_CLIENT_CONNECTIONS = 5
# No flow of ours begins by the engine's schedules.
_NEVER_SECONDS = 86400.0
_MESSAGES_SECONDS = 1.0
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
# Each batch is a transaction, for which other writers wait.
_FORGOTTEN_AT_ONCE = 50
_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0


class FlowInterrupted(BaseException):
    """Ends a flow's thread but not the flow, which goes on at the next start.

    It is no Exception, so that neither a flow's own handlers nor the engine take it for the flow's failure.
    """


class Flows:
    """The flows of one process. The engine knows one application per process, so launch one at a time.

    The database is the catalog's, already migrated. The migration puts SQLite into WAL mode, which the engine keeps.

    `executor` names this process among several on one PostgreSQL database. Its unfinished flows are carried on when a
    process of the same name launches.
    """

    def __init__(
        self,
        database_url: str,
        after_commit: Callable[[Any, Callable[[], None]], None],
        *,
        executor: str = "local",
        others: Collection[str] = (),
        connections: int = 20,
        call_leader: Callable[[Any], None] = lambda transaction: None,
    ) -> None:
        """`after_commit` is the catalog's function that does something when a transaction has committed.

        `others` are flows that a service beside this process carries out; they can be enqueued here, and `call_leader`
        tells it so when a transaction commits. The engine has so many `connections` to the database at most, and a few
        more to read results.
        """
        self._call_leader = call_leader
        self._after_commit = after_commit
        self._url = database_url
        self._others = others
        self._executor = executor
        self._connections = connections
        self._flows: dict[str, Callable[[StepRunner, str], Any]] = {}
        self._runnable: dict[str, Callable[[str], Any]] = {}
        # Lazy: the client connects only to read results. Enqueueing uses the caller's transaction.
        self._client = DBOSClient(
            system_database_url=database_url,
            serializer=PlainJson(),
            application_name=_APPLICATION,
            system_database_pool_size=_CLIENT_CONNECTIONS,
            lazy=True,
        )
        self._stopping = threading.Event()
        self._may_begin = threading.Event()
        self._may_begin.set()
        self._running = 0
        self._idle = threading.Condition()
        self._at_work = AtWork()
        self._looks = Looks()
        self._is_launched = False

    def register(self, name: str, flow: Callable[["StepRunner", str], Any]) -> None:
        """Register a flow, before `launch`. Keep its name as long as a flow of this name may be in flight."""
        self._flows[name] = flow

    def prepare(self) -> None:
        """Create the engine's tables, so that flows can be enqueued before `launch`, or without it."""
        forward_engine_log()
        DBOS.migrate(self._url)

    def launch(self) -> None:
        """Carry on the unfinished flows of a dead process of this name, then take new work."""
        forward_engine_log()
        config: DBOSConfig = {
            "name": _APPLICATION,
            "system_database_url": self._url,
            "application_version": _VERSION,
            "executor_id": self._executor,
            "serializer": PlainJson(),
            "sys_db_pool_size": self._connections,
            "log_level": "WARNING",
            "enable_otlp": False,
            "scheduler_polling_interval_sec": _NEVER_SECONDS,
            # On PostgreSQL, for messages to pass on, which our flows do not send: else a hundred times a second.
            "notification_coalesce_sec": _MESSAGES_SECONDS,
        }
        engine = DBOS(config=config)
        for name, flow in self._flows.items():
            # Unlimited recoveries, because a flow that was given up would hold its cluster for ever.
            workflow = DBOS.workflow(name=name, max_recovery_attempts=None)
            self._runnable[name] = workflow(self._body(name, flow))
        with self._looks.replacing_polls():
            DBOS.launch()
        queue = DBOS.register_queue(
            _QUEUE,
            worker_concurrency=_AT_ONCE,
            polling_interval_sec=SELDOM_SECONDS,
            on_conflict="always_update",
        )
        self._looks.begin(engine, queue, _AT_ONCE)
        self._is_launched = True

    def enqueue(self, transaction: Any, flow_name: str, subject_id: str) -> str:
        """Start a flow when the catalog's transaction commits, if it does. Return the flow's id."""
        if self._stopping.is_set():
            raise ShuttingDown("the service is shutting down", hint="ask again when it is back")
        if not self._may_begin.is_set():
            raise CatalogUnavailable("the service has lost its hold of the catalog, and asks for it again")
        if flow_name not in self._flows and flow_name not in self._others:
            raise LookupError(f"no flow is registered as {flow_name}")
        options: EnqueueOptions = {
            "workflow_name": flow_name,
            "queue_name": _QUEUE,
            "app_version": _VERSION,
        }
        handle: WorkflowHandle[Any] = self._client.enqueue_in_transaction(transaction, options, subject_id)
        self._after_commit(transaction, self._looks.now)
        if not self._is_launched:
            self._call_leader(transaction)
        return handle.get_workflow_id()

    def look_now(self) -> None:
        """Look for flows that another process has enqueued."""
        self._looks.now()

    def result(self, flow_id: str, within_seconds: float) -> Any:
        """Wait from outside for a flow's result and return it. Raises the flow's error, or TimeoutError."""
        deadline = time.monotonic() + within_seconds
        while not self._has_ended(flow_id):
            if time.monotonic() > deadline:
                raise TimeoutError(f"flow {flow_id} has not ended within {within_seconds} s")
            time.sleep(_FIRST_WAIT_SECONDS)
        return result_of(self._client.retrieve_workflow(flow_id))

    def forget_ended(self, before: datetime) -> int:
        """Remove the engine's records of flows that ended before a moment, with their children's; how many flows.

        A child's record goes with its parent's, never before: a parent that is replayed finds its children by them.
        """
        forgotten = 0
        while not self._stopping.is_set():
            ended = self._client.list_workflows(
                status=list(_ENDED),
                has_parent=False,
                completed_before=before.isoformat(),
                limit=_FORGOTTEN_AT_ONCE,
                load_input=False,
                load_output=False,
            )
            if not ended:
                break
            self._client.delete_workflows([one.workflow_id for one in ended], delete_children=True)
            forgotten += len(ended)
        return forgotten

    def at_work(self) -> list[Running]:
        """Return the flows at work in this process."""
        return list(self._at_work.running().values())

    def pulse(self) -> Callable[[], None]:
        """Return a function that notes that the flow of this thread came further. It is for any thread.

        Long steps call it with their progress; the beginnings and ends of steps count by themselves.
        """
        return self._at_work.pulse()

    def watch(self) -> Callable[[object], None]:
        """Return a function that takes the events of a process in which a step works: any but `None` is progress.

        It raises FlowInterrupted if the service is shutting down.
        """
        came_further = self.pulse()

        def on_event(event: object) -> None:
            if event is not None:
                came_further()
            self.check_running()

        return on_event

    def load(self) -> Load:
        """Count the flows that have not ended. Raises InternalError if the engine's tables cannot be read."""
        begun = self._at_work if self._is_launched else None
        return load_of(in_our_errors("count of flows", self._unended), begun, most_at_once=_AT_ONCE)

    def _unended(self) -> Any:
        return self._client.list_workflows(
            status=["ENQUEUED", "PENDING"], load_input=False, load_output=False, limit=MOST_COUNTED
        )

    def check_running(self) -> None:
        """Raise FlowInterrupted if the service is shutting down. Long steps call it now and then."""
        if self._stopping.is_set():
            raise FlowInterrupted

    def when_catalog_answers(self, act: Callable[[], JsonT]) -> JsonT:
        """Do it, again and again while the catalog is away. Raises FlowInterrupted if the service is shutting down."""
        pause = _FIRST_WAIT_SECONDS
        while True:
            try:
                return act()
            except CatalogUnavailable as away:
                log.get("durable").warning("a step waits for the catalog", reason=str(away))
            self._stopping.wait(pause)
            self.check_running()
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def pause(self) -> None:
        """Begin no flow and no step until `go_on`; steps at work go on."""
        self._may_begin.clear()

    def go_on(self) -> None:
        self._may_begin.set()

    def await_beginning(self) -> None:
        """Wait while paused. Raises FlowInterrupted if the service is shutting down."""
        self._may_begin.wait()
        self.check_running()

    def stop(self) -> None:
        """Accept no more flows, and tell the running ones to stop between steps."""
        self._stopping.set()
        self._may_begin.set()
        self._tell()

    def drain(self, within_seconds: float) -> bool:
        """Stop, and wait for running steps to end.

        Return False if a step is still running. Its thread would keep the interpreter from exiting, so end the process
        with os._exit. The step is repeated at the next start.
        """
        self.stop()
        with self._idle:
            return self._idle.wait_for(lambda: self._running == 0, within_seconds)

    def shutdown(self, within_seconds: float) -> bool:
        """Drain, then leave the engine."""
        drained = self.drain(within_seconds)
        DBOS.destroy(destroy_registry=True)
        self._client.destroy()
        return drained

    def _body(self, name: str, flow: Callable[["StepRunner", str], Any]) -> Callable[[str], Any]:
        def body(subject_id: str) -> Any:
            entered = self._at_work.entered(DBOS.workflow_id or "", name, subject_id)
            with self._counted(), entered, log.bound(flow=name, subject=subject_id):
                self.await_beginning()
                return flow(StepRunner(self), subject_id)

        return body

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._idle:
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()
            self._looks.now()

    def _has_ended(self, flow_id: str) -> bool:
        status = self._client.retrieve_workflow(flow_id).get_status().status
        return status not in ("ENQUEUED", "PENDING", "DELAYED")

    def _start_child(self, flow_name: str, subject_id: str) -> WorkflowHandle[Any]:
        self.await_beginning()
        child = DBOS.start_workflow(self._runnable[flow_name], subject_id)
        self._at_work.adopt(child.get_workflow_id())
        return child

    def _wait_for_child(self, child: WorkflowHandle[Any]) -> None:
        """Wait for a child. One that began in this process tells; one from before a crash is asked now and then.

        Ends at once when the service shuts down.
        """
        self.check_running()
        future: Future[Any] | None = getattr(child, "future", None)
        if future is not None:
            future.add_done_callback(lambda _: self._tell())
            with self._idle:
                self._idle.wait_for(lambda: future.done() or self._stopping.is_set())
            self.check_running()
            return
        pause = _FIRST_WAIT_SECONDS
        while not self._has_ended(child.get_workflow_id()):
            self._stopping.wait(pause)
            self.check_running()
            pause = min(pause * 1.5, _LONGEST_WAIT_SECONDS)

    def _tell(self) -> None:
        with self._idle:
            self._idle.notify_all()


class StepRunner:
    """The interface of a flow to the world: every effect of a flow is a step or a child."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._children: dict[str, WorkflowHandle[Any]] = {}

    def step(self, name: str, fn: Callable[P, JsonT], *args: P.args, **kwargs: P.kwargs) -> JsonT:
        """Run `fn`, and not again once its result is recorded. It may run more than once, so it must be idempotent."""
        self._flows.await_beginning()
        came_further = self._flows.pulse()
        came_further()

        def once() -> JsonT:
            # Through JSON even the first time, so that the flow sees the same value as at a replay.
            result: JsonT = json.loads(dump(in_our_errors(name, fn, *args, **kwargs)))
            return result

        options: StepOptions = {"name": name}
        with _recorded(name):
            result = DBOS.run_step(options, once)
        came_further()
        return result

    def surely(self, name: str, fn: Callable[P, JsonT], *args: P.args, **kwargs: P.kwargs) -> JsonT:
        """Run a step that begins or ends its flow: without it, rows would say for ever that work goes on.

        So it does not fail because the catalog is away: it is tried until the catalog is back, or the service ends.
        """
        return self.step(name, self._flows.when_catalog_answers, partial(fn, *args, **kwargs))

    def start_child(self, flow_name: str, subject_id: str) -> str:
        """Start a child flow that runs beside this one. After a crash the same call returns the same child."""
        with _recorded(flow_name):
            handle = self._flows._start_child(flow_name, subject_id)
        self._children[handle.get_workflow_id()] = handle
        return handle.get_workflow_id()

    def wait(self, child: str) -> Any:
        """Wait for a child's result and return it. Raises the child's error."""
        self._flows._wait_for_child(self._children[child])
        return result_of(self._children[child])


@contextmanager
def _recorded(what: str) -> Iterator[None]:
    """Interrupt the flow if the engine cannot read or write its record of this, for example on a full disk.

    The flow has not failed then: it goes on at the next start, and `/readyz` asks for one.
    """
    try:
        yield
    except (StillhouseError, error.DBOSException):
        raise
    except Exception as unrecorded:
        log.get("durable").error("the engine could not record a step", step=what, exc_info=True)
        raise FlowInterrupted from unrecorded
