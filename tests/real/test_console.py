"""The console in a real browser, before a real service with a real cluster."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from support.console.chromium import barriers, chromium, needs_chromium, overflow
from support.processes.service import PROJECT, Service, fill, serving

pytestmark = [pytest.mark.long, needs_chromium, pytest.mark.xdist_group("console")]

PATIENCE = 240_000
IMAGES = Path(__file__).parents[2] / "docs" / "images"
CONTENTS = "SELECT count(*), sum(balance) FROM accounts"


@dataclass
class Operator:
    """Somebody before the browser; `errors` are those that its console has told."""

    page: Page
    service: Service
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(f"{self.service.url}{path}")

    def sign_in(self, project: str = PROJECT) -> None:
        key = self.service.client(project)
        self.page.get_by_label("Access key").fill(key.access_key)
        self.page.get_by_label("Secret key").fill(key.secret_key)
        self.page.get_by_role("button", name="Sign in").click()

    def take(self, cluster: str, name: str) -> str:
        """Take a snapshot by the cluster's page; its id. Its own page is shown then."""
        self.open(f"/console/clusters/{cluster}")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_role("button", name="Take it").click()
        self.page.wait_for_url("**/console/snapshots/*")
        return self.page.url.rpartition("/")[2]

    def state_becomes(self, word: str) -> None:
        expect(self.page.locator("[sse-swap=now] .state").first).to_have_text(word, timeout=PATIENCE)


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "console") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    cluster_id = service.create_cluster("sales", 2)
    fill(service, cluster_id, 60_000)
    return cluster_id


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def operator(service: Service, cluster: str, browser: Browser) -> Iterator[Operator]:
    """Signed in, and shown the clusters."""
    with closing(browser.new_context(viewport={"width": 1440, "height": 900})) as context:
        one = Operator(context.new_page(), service)
        one.page.set_default_timeout(PATIENCE)
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("console", lambda said: one.errors.append(said.text) if said.type == "error" else None)
        one.open("/console")
        one.sign_in()
        one.page.wait_for_url("**/console/clusters")
        yield one
        assert one.errors == []


def test_a_snapshot_is_taken_restored_deleted_and_brought_back(operator: Operator, cluster: str) -> None:
    page, service = operator.page, operator.service
    snapshot = operator.take(cluster, "by-the-console")
    page.evaluate("window.isTheSamePage = true")
    operator.state_becomes("available")
    assert page.evaluate("window.isTheSamePage") is True

    page.get_by_label("Name of the new cluster").fill("sales-copy")
    page.get_by_role("button", name="Restore it").click()
    page.wait_for_url("**/console/clusters/*")
    copy = page.url.rpartition("/")[2]
    page.evaluate("window.isTheSamePage = true")
    operator.state_becomes("available")
    assert page.evaluate("window.isTheSamePage") is True
    with service.log_in(cluster) as source, service.log_in(copy) as restored:
        assert restored.execute(CONTENTS).fetchone() == source.execute(CONTENTS).fetchone()
    service.settled(copy)
    service.delete_cluster(copy)

    operator.open(f"/console/snapshots/{snapshot}")
    page.get_by_label("to confirm").fill("another-name")
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was deleted")
    operator.errors.clear()  # the browser tells of the refusal
    page.get_by_label("to confirm").fill("by-the-console")
    page.get_by_role("button", name="Delete it").click()
    operator.state_becomes("deleted")
    operator.open("/console/repository")
    page.get_by_role("link", name="by-the-console").click()
    page.get_by_role("button", name="Bring it back").click()
    operator.state_becomes("available")
    assert service.snapshot(snapshot)["status"] == "AVAILABLE"


def test_a_snapshot_that_is_being_taken_is_cancelled(operator: Operator, cluster: str) -> None:
    page, service = operator.page, operator.service
    with service.log_in(cluster) as writer:
        writer.autocommit = False
        writer.execute("UPDATE accounts SET balance = balance WHERE id = 1")  # the cut waits for it
        snapshot = operator.take(cluster, "to-be-cancelled")
        expect(page.get_by_role("progressbar")).to_be_visible()
        page.get_by_role("button", name="Cancel it").click()
        page.wait_for_url("**?done=cancelled")
        operator.state_becomes("cancelled")
        writer.rollback()
    assert service.ended(snapshot) == "UNAVAILABLE"
    service.settled(cluster)


def test_a_snapshot_is_proved_and_its_report_is_there(operator: Operator, cluster: str) -> None:
    page = operator.page
    operator.take(cluster, "to-be-proved")
    operator.state_becomes("available")
    page.get_by_role("button", name="Prove it").click()
    expect(page.locator("[sse-swap=now] .state", has_text="proved")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="report").click()
    expect(page.get_by_text("Rows compared")).to_be_visible()
    operator.service.settled(cluster)


def test_a_caller_of_another_project_is_shown_nothing(
    operator: Operator, cluster: str, browser: Browser
) -> None:
    with closing(browser.new_context()) as context:
        other = Operator(context.new_page(), operator.service)
        other.open(f"/console/clusters/{cluster}")
        other.sign_in("f" * 32)
        expect(other.page.get_by_role("heading", level=1)).to_contain_text("does not exist")
        assert "sales" not in other.page.content()


def test_an_ended_session_leads_to_the_sign_in_and_back(operator: Operator, cluster: str) -> None:
    page = operator.page
    place = f"/console/clusters/{cluster}"
    operator.open(place)
    second = page.context.new_page()
    second.goto(f"{operator.service.url}/console/snapshots")
    second.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Your session has ended")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Load the page anew").click()
    page.wait_for_url("**/console/sign-in**")
    operator.sign_in()
    page.wait_for_url(f"**{place}")


def test_a_page_outlives_the_service_s_death(operator: Operator, cluster: str) -> None:
    page, service = operator.page, operator.service
    operator.open(f"/console/clusters/{cluster}")
    page.evaluate("window.isTheSamePage = true")
    service.kill()
    expect(page.get_by_text("The connection is lost")).to_be_visible(timeout=PATIENCE)
    service.start()
    expect(page.get_by_text("The connection is lost")).to_be_hidden(timeout=PATIENCE)
    service.request_snapshot(cluster, "after-the-death")
    expect(page.get_by_role("link", name="after-the-death")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("window.isTheSamePage") is True
    operator.errors.clear()  # the browser tells that nobody answered
    operator.service.settled(cluster)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_without_barriers_and_fits(operator: Operator, cluster: str, scheme: str) -> None:
    page = operator.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    snapshot = operator.take(cluster, f"to-be-looked-at-{scheme}")
    operator.state_becomes("available")
    for path in (
        "/console/clusters",
        f"/console/clusters/{cluster}",
        "/console/snapshots",
        f"/console/snapshots/{snapshot}",
        f"/console/snapshots/{snapshot}/proof",
        "/console/activity",
        "/console/activity?show=events",
        "/console/activity?show=audit",
        "/console/repository",
        "/console/sign-in",
    ):
        operator.open(path)
        assert barriers(page) == [], path
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert overflow(page) <= 0, f"{path} at {width}"
    if os.environ.get("SCREENSHOTS"):
        _take_pictures(operator, cluster, snapshot, scheme)


def _take_pictures(operator: Operator, cluster: str, snapshot: str, scheme: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    name, path = (
        ("cluster", f"clusters/{cluster}") if scheme == "light" else ("snapshot", f"snapshots/{snapshot}")
    )
    operator.page.set_viewport_size({"width": 1100, "height": 760})
    operator.open(f"/console/{path}")
    operator.page.screenshot(path=IMAGES / f"console-{name}.png")
