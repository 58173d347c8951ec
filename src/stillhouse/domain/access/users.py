"""A user, who logs in by password, and a token that was made for one."""

from dataclasses import dataclass, field
from datetime import datetime

from stillhouse.domain.access.policy_document import Attached


@dataclass(frozen=True)
class User:
    id: str
    project: str
    name: str
    password_hash: str = field(repr=False)
    policies: tuple[Attached, ...]
    created: datetime
    disabled: datetime | None = None


@dataclass(frozen=True)
class Token:
    user_id: str
    issued: datetime
    expires: datetime
