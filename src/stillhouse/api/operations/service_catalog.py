"""The first calls of OpenStack's clients: the versions of the identity service, and the addresses of services.

The form is that of OpenStack's Identity API v3, of which IAM has these calls. `dws` is the bare address, to which
gophertelekomcloud adds version and project (`NewDWSV1` in its `openstack/client.go`); `dwsv1` has both, as
otcextensions wants it (`OTC_SERVICES` in its `sdk/__init__.py`).
"""

import hashlib

from fastapi import Request

from stillhouse.api.gateway import addresses
from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes.iam import ServiceCatalog, VersionList, VersionShown
from stillhouse.api.shapes.render import Json
from stillhouse.control.context import Control
from stillhouse.errors import InvalidInput

routes = router()


@routes.get(
    "/", operation_id="KeystoneListVersions", **answers(VersionList, "The versions of identity: one, v3")
)
def list_versions(control: ControlOf, request: Request) -> Json:
    return {"versions": {"values": [_version(_address(control, request))]}}


@routes.get("/v3/", operation_id="KeystoneShowVersion", include_in_schema=False)
@routes.get("/v3", operation_id="KeystoneShowVersion", **answers(VersionShown, "The version v3 of identity"))
def show_version(control: ControlOf, request: Request) -> Json:
    return {"version": _version(_address(control, request))}


@routes.get(
    "/v3/auth/catalog",
    operation_id="KeystoneShowCatalog",
    **answers(ServiceCatalog, "Where the caller finds the service"),
)
def show_catalog(control: ControlOf, request: Request) -> Json:
    links = {"self": "/v3/auth/catalog", "previous": None, "next": None}
    address = _address(control, request)
    return {"catalog": entries(control, address, control.caller.project), "links": links}


def entries(control: Control, address: str, project: str) -> list[Json]:
    """Return the catalog of a project, at this address."""
    urls = {"dws": address, "dwsv1": f"{address}/v1.0/{project}"}
    return [_entry(type_, url, control.settings.region) for type_, url in urls.items()]


def _entry(type_: str, url: str, region: str) -> Json:
    endpoint = {
        "id": _id(f"{type_} {region}"),
        "interface": "public",
        "region": region,
        "region_id": region,
        "url": url,
    }
    return {"id": _id(type_), "type": type_, "name": type_, "endpoints": [endpoint]}


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _version(address: str) -> Json:
    """Return the version entry. IAM itself says v3.6."""
    return {
        "id": "v3.6",
        "status": "stable",
        "updated": "2016-04-04T00:00:00Z",
        "links": [{"rel": "self", "href": f"{address}/v3/"}],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"},
        ],
    }


def _address(control: Control, request: Request) -> str:
    address = addresses.told(request, control.settings)
    if not address:
        raise InvalidInput("This service does not know its own address.", hint=addresses.HINT)
    return address
