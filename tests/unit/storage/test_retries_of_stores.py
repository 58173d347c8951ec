"""How long a store that is away is waited for: by a hand-turned clock, with a store that fails as it is told."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.errors import ObjectMissing, StoreRefused, StoreUnavailable
from stillhouse.storage.retries import PatientStore
from stillhouse.storage.store import Chunk, StoredObject
from support.stores.dict_store import DictStore


class TurnedClock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds


class Away(DictStore):
    """Away until the clock shows `back`; a try takes `each` seconds. A listing breaks off after two objects."""

    def __init__(self, clock: TurnedClock, back: float, each: float = 0.0) -> None:
        super().__init__()
        self.clock, self.back, self.each, self.tries = clock, back, each, 0

    def _try(self) -> None:
        self.tries += 1
        if self.clock.seconds < self.back:
            self.clock.seconds += self.each
            raise StoreUnavailable("away")

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self._try()
        super().put(key, chunks)

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        self._try()
        return super().create(key, chunks)

    def get(self, key: str) -> bytes:
        self._try()
        return super().get(key)

    def size(self, key: str) -> int | None:
        self._try()
        return super().size(key)

    def delete(self, key: str) -> None:
        self._try()
        super().delete(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for number, found in enumerate(super().list(prefix)):
            if number == 2:
                self._try()
            yield found


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


def patient(store: Away, seconds: float = 120) -> PatientStore:
    return PatientStore(store, timedelta(seconds=seconds), store.clock)


@pytest.mark.parametrize("each", [0.0, 30.0])
def test_every_call_outlasts_an_outage_that_is_shorter_than_the_time_given(
    clock: TurnedClock, each: float
) -> None:
    """Whether its tries fail at once, as where nobody listens, or each after a time-out."""
    away = Away(clock, 0.0, each)
    store = patient(away)
    calls: list[Callable[[], object]] = [
        lambda: store.put("a", [b"x"]),
        lambda: store.create("b", [b"x"]),
        lambda: store.get("a"),
        lambda: store.get_range("a", 0, 1),
        lambda: store.size("a"),
        lambda: store.delete("c"),
    ]
    for number, call in enumerate(calls):
        clock.seconds = 1000.0 * number
        away.back = clock.seconds + 100
        call()
    assert away.objects.keys() == {"a", "b"}


def test_time_ends_the_tries_and_not_their_count(clock: TurnedClock) -> None:
    away = Away(clock, 10_000)
    with pytest.raises(StoreUnavailable, match="away"):
        patient(away).get("a")
    assert clock.seconds == pytest.approx(120)
    assert 120 / 5 <= away.tries <= 120 / 2.5 + 10  # pauses grow to five seconds, and stay there


def test_time_counts_from_the_first_failure(clock: TurnedClock) -> None:
    """A try that hangs for longer than the whole time given is followed by others."""
    away = Away(clock, 300.05, each=300)
    store = patient(away)
    store.put("a", [b"x"])
    assert away.tries > 1


def test_pauses_are_drawn_anew_for_each_writer(clock: TurnedClock) -> None:
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            patient(Away(clock, clock.seconds + 10_000)).get("a")
    half = len(clock.pauses) // 2
    assert clock.pauses[:half] != clock.pauses[half : 2 * half]


def test_an_answer_is_not_asked_for_again(clock: TurnedClock) -> None:
    class Refusing(Away):
        def get(self, key: str) -> bytes:
            self.tries += 1
            raise StoreRefused("no")

    away = Away(clock, 0)
    with pytest.raises(ObjectMissing):
        patient(away).get("nothing")
    refusing = Refusing(clock, 0)
    with pytest.raises(StoreRefused):
        patient(refusing).get("a")
    assert (away.tries, refusing.tries, clock.pauses) == (1, 1, [])


def test_a_listing_that_breaks_off_gives_each_object_once(clock: TurnedClock) -> None:
    away = Away(clock, 0)
    for number in range(5):
        away.put(f"a/{number}", [b"x"])
    away.back = 60
    assert [found.key for found in patient(away).list("a")] == [f"a/{number}" for number in range(5)]
    away.back = clock.seconds + 10_000
    with pytest.raises(StoreUnavailable):
        list(patient(away).list("a"))
