"""A store with the keys of a cluster: `pytest_plugins = ["support.repositories.keyed_store"]` in a module."""

import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.storage.store import ObjectStore
from support.stores.dict_store import DictStore


@pytest.fixture
def store() -> ObjectStore:
    """A module whose tests need another store has a fixture of this name."""
    return DictStore()


@pytest.fixture
def keys(store: ObjectStore) -> ClusterKeys:
    return create_or_open(store, Kek(bytes(32)), new_uuid())
