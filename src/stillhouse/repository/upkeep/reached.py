"""The objects that are reached, each with the first holder that reaches it, in four bytes each."""

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.object_kinds import CONTENT
from stillhouse.repository.format.id_table import expand
from stillhouse.repository.objects.reach_facts import Facts, ManifestFact


class Reached:
    """The packs, maps and manifests that are reached, each with its first holder. Four bytes for each."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._who: list[str] = []
        self._manifests: dict[str, int] = {}
        self._by = {"packs": _First(), "maps": _First()}

    def has_manifest(self, manifest: str) -> bool:
        return manifest in self._manifests

    def add(self, who: str, manifest: str, fact: ManifestFact) -> None:
        """Add a manifest and all that it names, reached by `who`."""
        if not self._who or self._who[-1] != who:
            self._who.append(who)
        number = len(self._who)
        self._manifests.setdefault(manifest, number)
        self._by["packs"].note(expand(fact.packs), number, len(self._facts.packs))
        self._by["maps"].note(expand(fact.maps), number, len(self._facts.maps))

    def get(self, key: str, /) -> str | None:
        """The holder of the object at this key below the cluster's folder; `None` if there is no holder."""
        folder, _, name = key.partition("/")
        if folder not in CONTENT:
            return None
        if folder == "manifests":
            number = self._manifests.get(name, 0)
        else:
            table = self._facts.packs if folder == "packs" else self._facts.maps
            ordinal = table.find(bytes.fromhex(name))
            number = 0 if ordinal is None else self._by[folder].of(ordinal)
        return self._who[number - 1] if number else None


class _First:
    """For each ordinal, the number of the first holder that reaches it, or 0."""

    def __init__(self) -> None:
        self._numbers = np.zeros(0, np.uint32)

    def note(self, ordinals: NDArray[np.uint32], number: int, length: int) -> None:
        if length > len(self._numbers):
            self._numbers = np.append(self._numbers, np.zeros(2 * length - len(self._numbers), np.uint32))
        self._numbers[ordinals[self._numbers[ordinals] == 0]] = number

    def of(self, ordinal: int) -> int:
        return int(self._numbers[ordinal]) if ordinal < len(self._numbers) else 0
