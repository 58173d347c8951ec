"""The identity of a repository: an unmounted disk or a mistyped bucket must not pass for an empty new one."""

from stillhouse.domain.ids import new_hex
from stillhouse.errors import InvalidInput, ObjectMissing, StoreUnavailable
from stillhouse.storage.store import ObjectStore

_KEY = "repository"


def claim(store: ObjectStore) -> str:
    """The repository's id (32 hex digits). A repository without one gets a new one."""
    store.create(_KEY, [new_hex().encode()])
    return store.get(_KEY).decode()


def check(store: ObjectStore, repository_id: str) -> None:
    """Raise StoreUnavailable unless the repository here has that id."""
    try:
        found = store.get(_KEY).decode(errors="replace")
    except ObjectMissing:
        found = "none"
    if found != repository_id:
        raise StoreUnavailable(
            f"the repository is not there: {repository_id} is wanted, {found} was found",
            hint="is its disk mounted, and the location right?",
        )


def demand(store: ObjectStore, location: str) -> str:
    """The id of the repository that is there. Raises InvalidInput when there is no repository."""
    try:
        return store.get(_KEY).decode(errors="replace")
    except ObjectMissing:
        raise InvalidInput(f"no repository at {location}", hint="is the location right?") from None
