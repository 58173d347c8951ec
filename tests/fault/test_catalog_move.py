"""A catalog moves whole, whatever kills the move; flows that had not ended go on at the new place."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.bootstrap.service import open_control
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.place import place_of
from stillhouse.config import Settings
from stillhouse.control.access.access_keys import create_access_key, list_access_keys
from stillhouse.control.upkeep.move_catalog import move_catalog
from stillhouse.data_lock import lock_data_directory
from stillhouse.durable.flows import Flows, StepRunner
from stillhouse.errors import CatalogNotOurs, DataDirectoryInUse, InvalidInput
from support.processes.move_process import MOMENTS
from support.servers.catalog_server import fresh_postgres_database

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SECONDS = 120


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory whose catalog, in SQLite, has a key, records of the audit and a flow that has not begun."""
    data = tmp_path / "data"
    with open_control(Settings(data=data)) as control:
        create_access_key(control, PROJECT, ("DWS FullAccess",))
        flows = Flows(control.database.url, after_commit, others=["flow"])
        flows.prepare()
        with control.database.transaction() as transaction:
            (data / "flow").write_text(flows.enqueue(transaction, "flow", "subject"))
    return data


def keys(data: Path, catalog: str) -> int:
    with open_control(Settings(data=data, catalog=catalog)) as control:
        return len(list_access_keys(control, PROJECT))


def ends_the_flow(data: Path, catalog: str) -> None:
    def flow(run: StepRunner, subject: str) -> str:
        return run.step("only", lambda: f"{subject} is done")

    flows = Flows(place_of(catalog, data).url, after_commit)
    flows.register("flow", flow)
    flows.launch()
    try:
        assert flows.result((data / "flow").read_text(), SECONDS) == "subject is done"
    finally:
        flows.shutdown(10)


def test_there_and_back_with_a_flow_that_has_not_begun(data: Path) -> None:
    server = fresh_postgres_database()
    there = move_catalog(Settings(data=data), server)
    assert there.rows["sh_access_keys"] == 1
    assert there.rows["workflow_status"] == 1
    with pytest.raises(CatalogNotOurs, match="this installation is"):
        keys(data, "")
    assert keys(data, server) == 1
    with open_control(
        Settings(data=data, catalog=server)
    ) as control:  # numbers are drawn beyond those that came
        create_access_key(control, PROJECT, ("DWS FullAccess",))
    ends_the_flow(data, server)
    back = move_catalog(Settings(data=data, catalog=server), "sqlite")
    assert back.rows["sh_access_keys"] == 2
    assert keys(data, "") == 2
    with pytest.raises(CatalogNotOurs, match=r"has moved to .*catalog.sqlite"):
        keys(data, server)
    assert move_catalog(Settings(data=data), server).rows == back.rows


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_that_was_killed_is_completed_by_the_same_call(data: Path, moment: str) -> None:
    server = fresh_postgres_database()
    program = Path(__file__).parents[1] / "support" / "processes" / "move_process.py"
    killed = subprocess.run(
        [sys.executable, str(program), str(data), server, moment], check=False, timeout=SECONDS
    )
    assert killed.returncode == -signal.SIGKILL
    is_left = moment in ("source marked", "arrived")
    if is_left:
        with pytest.raises(CatalogNotOurs, match=r"has moved to"):
            keys(data, "")
    if moment != "arrived":
        with pytest.raises(CatalogNotOurs, match=r"has not ended|is empty"):
            keys(data, server)
    if not is_left:
        assert keys(data, "") == 1
    move_catalog(Settings(data=data), server)
    assert keys(data, server) == 1
    with closing(Database(place_of(server, data).url)) as database, database.reading() as reading:
        assert reading.exec_driver_sql("SELECT count(*) FROM sh_audit").scalar_one() > 0
    ends_the_flow(data, server)


def test_a_target_that_holds_something_else_is_refused_and_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    server = fresh_postgres_database()
    other = Settings(data=tmp_path / "other", catalog=server)
    with open_control(other) as control:
        create_access_key(control, PROJECT, ("DWS FullAccess",))
    with pytest.raises(CatalogNotOurs, match="is the catalog of installation"):
        move_catalog(Settings(data=data), server)
    assert keys(other.data, server) == 1
    assert keys(data, "") == 1


def test_a_service_at_work_and_a_move_to_the_same_place_are_refused(data: Path) -> None:
    with pytest.raises(InvalidInput, match="already"):
        move_catalog(Settings(data=data), "sqlite")
    with lock_data_directory(data), pytest.raises(DataDirectoryInUse, match="already serves"):
        move_catalog(Settings(data=data), fresh_postgres_database())
