"""Shapes of the answers about tokens, temporary keys, projects and the service's address; see `answer`."""

from pydantic import Field

from stillhouse.api.shapes.answer import Answer, Text


class CatalogEndpoint(Answer):
    id: str
    interface: str
    region: str
    region_id: str
    url: str


class CatalogEntry(Answer):
    id: str
    type: str
    name: str
    endpoints: list[CatalogEndpoint]


class Domain(Answer):
    id: str
    name: str


class TokenUser(Answer):
    id: str
    name: str
    domain: Domain
    password_expires_at: str


class TokenProject(Answer):
    id: str
    name: str
    domain: Domain


class TokenRole(Answer):
    id: str
    name: str


class Token(Answer):
    methods: list[str]
    issued_at: str
    expires_at: str
    user: TokenUser
    roles: list[TokenRole]
    catalog: list[CatalogEntry]
    hint: str | None = None
    project: TokenProject | None = None
    domain: Domain | None = None


class TokenMade(Answer):
    token: Token


class SelfLink(Answer):
    self: str


class PageLinks(Answer):
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
    links: PageLinks


class ShownDomain(Answer):
    id: str
    name: str
    enabled: bool
    description: str
    links: SelfLink


class Domains(Answer):
    domains: list[ShownDomain]
    links: PageLinks


class TemporaryKey(Answer):
    access: str
    secret: str
    securitytoken: str
    expires_at: str


class TemporaryKeyMade(Answer):
    credential: TemporaryKey


class ServiceCatalog(Answer):
    catalog: list[CatalogEntry]
    links: PageLinks


class VersionLink(Answer):
    rel: str
    href: str


class MediaType(Answer):
    base: str
    type: str


class IdentityVersion(Answer):
    id: str
    status: str
    updated: str
    links: list[VersionLink]
    media_types: list[MediaType] = Field(alias="media-types")


class VersionShown(Answer):
    version: IdentityVersion


class IdentityVersions(Answer):
    values: list[IdentityVersion]


class VersionList(Answer):
    versions: IdentityVersions
