"""Descriptions of all fields and parameters of the API, for the OpenAPI document: one module per resource.

A field has one description for each name. A name with a meaning of its own in one shape has another entry,
`Shape.name`. The second text of an entry is an example in JSON; it is empty for a field that holds other fields.
"""

from stillhouse.api.document.glossary import (
    capacity,
    clusters,
    databases,
    iam,
    jobs,
    snapshot_policies,
    snapshots,
    tables,
    tags,
    values,
)
from stillhouse.api.document.glossary.ours import damage, difference, extensions, registration

PARTS = (
    values.TERMS,
    snapshots.TERMS,
    clusters.TERMS,
    tags.TERMS,
    tables.TERMS,
    snapshot_policies.TERMS,
    capacity.TERMS,
    jobs.TERMS,
    databases.TERMS,
    iam.TERMS,
    extensions.TERMS,
    registration.TERMS,
    damage.TERMS,
    difference.TERMS,
)
GLOSSARY = {name: term for part in PARTS for name, term in part.items()}
