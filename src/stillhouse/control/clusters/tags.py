"""Tags of clusters: words of a caller that the service keeps and gives back."""

from collections.abc import Callable, Sequence

from stillhouse.catalog import clusters
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster
from stillhouse.domain.cluster import Cluster
from stillhouse.errors import InvalidInput

MOST_TAGS = 20

Tags = dict[str, str]


def tags_of(cluster: Cluster) -> Tags:
    stored = cluster.facts.get("tags")
    return {tag["key"]: tag.get("value", "") for tag in stored} if isinstance(stored, list) else {}


def project_tags(control: Control, project: str) -> dict[str, list[str]]:
    """Return every key in use in the project, with its values, sorted."""
    found: dict[str, set[str]] = {}
    with control.database.reading() as reading:
        for cluster in clusters.list_clusters(reading, project):
            for key, value in tags_of(cluster).items():
                found.setdefault(key, set()).add(value)
    return {key: sorted(found[key]) for key in sorted(found)}


def add_tags(control: Control, project: str, cluster_id: str, added: Tags) -> None:
    """Add tags. An existing key gets the new value."""
    _change(control, project, "BatchCreateResourceTag", cluster_id, lambda tags: tags | added)


def remove_tags(control: Control, project: str, cluster_id: str, keys: Sequence[str]) -> None:
    """Remove tags. Missing keys are no fault: a repeated request ends the same."""

    def without(tags: Tags) -> Tags:
        return {key: value for key, value in tags.items() if key not in keys}

    _change(control, project, "BatchDeleteResourceTag", cluster_id, without)


def _change(
    control: Control, project: str, action: str, cluster_id: str, changed: Callable[[Tags], Tags]
) -> None:
    with audited(control, project, action, f"cluster/{cluster_id}") as transaction:
        clusters.lock_cluster(transaction, known_cluster(transaction, project, cluster_id).id)
        cluster = known_cluster(transaction, project, cluster_id)
        tags = changed(tags_of(cluster))
        if len(tags) > MOST_TAGS:
            raise InvalidInput(f"a cluster has at most {MOST_TAGS} tags")
        stored = [{"key": key, "value": value} for key, value in tags.items()]
        clusters.set_facts(transaction, cluster.id, cluster.facts | {"tags": stored}, control.clock.now())
