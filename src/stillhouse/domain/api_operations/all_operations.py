"""The table of all operations, by id: a route finds its declaration here, and a check of permissions its need.

The first name of a need is from the identity policies. The others are its older aliases (DWS API reference,
"Permissions and Supported Actions"). An operation without a published name uses the name of the nearest operation. The
names of `dws:openAPITag`, of our own operations and of those that are not built yet are ours.
"""

from stillhouse.domain.api_operations.clusters import CLUSTERS
from stillhouse.domain.api_operations.extensions import EXTENSIONS
from stillhouse.domain.api_operations.iam import TOKENS
from stillhouse.domain.api_operations.not_yet import NOT_YET
from stillhouse.domain.api_operations.refused import REFUSED
from stillhouse.domain.api_operations.snapshots import SNAPSHOTS

PUBLISHED = (*SNAPSHOTS, *CLUSTERS, *TOKENS, *REFUSED, *NOT_YET)
"""Operations that DWS or IAM publishes."""

OPERATIONS = {one.id: one for one in (*PUBLISHED, *EXTENSIONS)}
# Operations that are not built yet are included, because policies may name their actions.
ACTIONS = frozenset(name for one in OPERATIONS.values() for name in one.need.names)
