"""A whole service: its engine, its repository and its clusters' servers, put together."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from stillhouse import log
from stillhouse.bootstrap.catalog import database_at, open_catalog, up_to_date
from stillhouse.bootstrap.following import Follower, can_follow
from stillhouse.bootstrap.host import close_to_others, kek_file, open_flow_context
from stillhouse.bootstrap.leading import FLOWS, followers_timer, lead
from stillhouse.catalog.installation import hold as holding
from stillhouse.catalog.installation.hold import Hold
from stillhouse.catalog.schema.calls import BELL, WORK, Calls, call
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.place import place_of
from stillhouse.config import Settings
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.control.clusters.accounts import is_account_shared
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.replicas.shared_lockouts import FailuresHeard, SharedLockouts
from stillhouse.control.timer import Timer
from stillhouse.control.upkeep import host_files
from stillhouse.data_lock import lock_data_directory
from stillhouse.durable.flows import Flows
from stillhouse.errors import InvalidInput
from stillhouse.postgres.host.account import make_passable
from stillhouse.repository.format.cipher_keys import read_kek
from stillhouse.workers.jobs import Repository


class Service:
    """A service at work. It leads, or follows the one that does until its turn comes."""

    def __init__(self, place: FlowContext) -> None:
        self.control: Control = place.control
        self.repository: Repository = place.vault.repository
        self._place = place
        self._follower: Follower | None = None
        self._timer: Timer | None = None

    def lead(self, hold: Hold | None) -> None:
        self._stop_timer()
        self._timer = lead(self._place, hold)

    def follow(self, hold: Hold) -> None:
        host_files.check(self.control.database, self.control.settings.data, self.repository)
        self._follower = Follower(self._place, hold, partial(self.lead, hold))
        self._timer = followers_timer(self._place)
        self._timer.start()
        self._follower.start()

    def stop(self) -> None:
        """Begin nothing more by itself."""
        if self._follower is not None:
            self._follower.stop()
        self._stop_timer()

    def drain(self, within_seconds: float) -> bool:
        """Begin nothing more, and wait for running flows to end; False if one still runs after `within_seconds`."""
        self.stop()
        self.control.flows.stop()
        self.control.bells.end()
        return self.control.flows.drain(within_seconds)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()


@contextmanager
def open_control(settings: Settings) -> Iterator[Control]:
    """Open the catalog, and the engine's queue of flows: a running service beside this process carries them out."""
    with open_catalog(settings) as context:
        yield _with_flows(context)


def _with_flows(context: CatalogContext) -> Control:
    settings, database = context.settings, context.database
    flows = Flows(
        database.url,
        after_commit,
        others=FLOWS,
        connections=20 if database.is_sqlite else settings.catalog_connections // 2,
        call_leader=partial(call, word=WORK),
    )
    return Control(database, context.sealer, context.clock, settings, flows=flows)


@contextmanager
def open_service(settings: Settings) -> Iterator[Service]:
    """Open a whole service over its data directory, and lock it: servers are adopted, flows run.

    A standby waits here until no other service works on the catalog, and so does a replica that cannot follow that
    one. Raises DataDirectoryInUse, CatalogInUse, or InvalidInput for a place or a store that cannot be used.
    """
    make_passable(settings.data)
    with ExitStack() as stack:
        stack.enter_context(lock_data_directory(settings.data))
        close_to_others(settings.data)
        catalog, calls = place_of(settings.catalog, settings.data), Calls()
        database = stack.enter_context(database_at(catalog, settings))
        hold = _hold(stack, database, calls, settings)
        leads = hold is None or _has_turn(hold, database, settings)
        if hold is not None:
            if leads:
                database.migrate()
            host_files.bring_back(database, settings.data, partial(read_kek, kek_file(settings)))
        control = _hearing(_with_flows(up_to_date(database, catalog, settings)), calls)
        if is_account_shared(settings):
            log.get("service").warning(
                "all clusters' servers run as one account, which is one domain of trust; as root each has its own",
                second_project=settings.shared_account or "refused",
            )
        service = Service(open_flow_context(control))
        stack.callback(service.stop)
        if hold is None or leads:
            service.lead(hold)
        else:
            service.follow(hold)
        yield service


def _hold(stack: ExitStack, database: Database, calls: Calls, settings: Settings) -> Hold | None:
    """Open the session that asks for the lead. A file in the data directory is held with the directory."""
    if not database.is_sqlite:
        return stack.enter_context(holding.opened(database, calls))
    for name, wanted in ("replica", settings.replica), ("standby", settings.standby):
        if wanted:
            raise InvalidInput(
                f"--{name} is for a catalog on PostgreSQL, and this one is a file, which one service alone works on",
                hint=f"set STILLHOUSE_CATALOG, or leave --{name} (STILLHOUSE_{name.upper()}) out",
            )
    return None


def _has_turn(hold: Hold, database: Database, settings: Settings) -> bool:
    """Wait for the lead as the settings say; False if another service has it, which this one can follow."""
    if settings.replica:
        return hold.await_turn(partial(can_follow, database))
    if settings.standby:
        return hold.await_turn()
    hold.demand()
    return True


def _hearing(control: Control, calls: Calls) -> Control:
    """Let the control plane hear the calls of other processes on the catalog, and share lock-outs with them."""
    if control.database.is_sqlite:
        return control
    calls.on(WORK, lambda _: control.flows.look_now())
    calls.on(BELL, control.bells.ring)
    heard = FailuresHeard(control.database, calls)
    return replace(
        control,
        calls=calls,
        key_lockouts=SharedLockouts(control.database, heard, "key"),
        user_lockouts=SharedLockouts(control.database, heard, "user"),
        invented_lockouts=SharedLockouts(control.database, heard, "invented"),
    )
