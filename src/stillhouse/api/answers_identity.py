"""What is answered in IAM's place: tokens, temporary keys, projects, domains; see `answers`."""

from stillhouse.api.answers import Answer, Text


class Domain(Answer):
    id: str
    name: str


class TokenUser(Answer):
    id: str
    name: str
    domain: Domain
    password_expires_at: str


class TokenRole(Answer):
    id: str
    name: str


class ScopedProject(Answer):
    id: str
    name: str
    domain: Domain


class _Token(Answer):
    methods: list[str]
    issued_at: str
    expires_at: str
    user: TokenUser
    roles: list[TokenRole]
    catalog: list[str]


class TokenOfProject(_Token):
    project: ScopedProject


class TokenOfDomain(_Token):
    domain: Domain


class TokenCreated(Answer):
    token: TokenOfProject | TokenOfDomain


class SelfLink(Answer):
    self: str


class Links(Answer):
    self: str
    previous: Text
    next: Text


class ShownProject(Answer):
    id: str
    name: str
    domain_id: str
    parent_id: str
    enabled: bool
    is_domain: bool
    description: str
    links: SelfLink


class Projects(Answer):
    projects: list[ShownProject]
    links: Links


class ShownDomain(Answer):
    id: str
    name: str
    enabled: bool
    description: str
    links: SelfLink


class Domains(Answer):
    domains: list[ShownDomain]
    links: Links


class TemporaryKey(Answer):
    access: str
    secret: str
    securitytoken: str
    expires_at: str


class TemporaryKeyCreated(Answer):
    credential: TemporaryKey
