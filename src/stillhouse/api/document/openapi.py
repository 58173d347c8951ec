"""The OpenAPI document: the framework's, completed with descriptions, errors and schemes of signing."""

import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stillhouse.api.document.glossary.terms import GLOSSARY
from stillhouse.api.gateway import errors

Document = dict[str, Any]

_SIGNATURE = (
    "SDK-HMAC-SHA256: `Authorization: SDK-HMAC-SHA256 Access=AK, SignedHeaders=names, Signature=hex`, over the "
    "method, path, query, signed headers and body; `X-Sdk-Date` is among the signed headers. The SDKs of Huawei "
    "Cloud sign so by themselves. The older form, with `Credential=AK/date/region/service/sdk_request` and a derived "
    "key, is taken as well."
)
_REQUEST_ID = {
    "description": "Id of the request, for the service's log",
    "schema": {"type": "string"},
    "example": "3f6c2c9080e88459fa44018459fbeb60",
}
# The framework adds these for refusals of its own, which are never answered.
_OF_THE_FRAMEWORK = ("HTTPValidationError", "ValidationError")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def complete(app: FastAPI) -> Document:
    """Return the document of `app`, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            routes=app.routes,
            description="The DWS snapshot API, for clusters on one's own host.",
        )
        _describe_schemas(document["components"]["schemas"])
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _describe_operation(path, operation)
        document["components"]["securitySchemes"] = {
            "signature": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": _SIGNATURE,
            }
        }
        document["security"] = [{"signature": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _describe_schemas(schemas: dict[str, Any]) -> None:
    for name in _OF_THE_FRAMEWORK:
        schemas.pop(name, None)
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            _say(described, name, field)


def _describe_operation(path: str, operation: Document) -> None:
    name = operation["operationId"]
    operation["summary"] = _WORDS.sub(" ", name)
    operation["responses"].pop("422", None)
    declared = {parameter["name"] for parameter in operation.setdefault("parameters", [])}
    for missing in re.findall(r"{(\w+)}", path):
        if missing not in declared:
            operation["parameters"].append(
                {"name": missing, "in": "path", "required": True, "schema": {"type": "string"}}
            )
    for parameter in operation["parameters"]:
        _say(parameter, name, parameter["name"])
    for status, response in operation["responses"].items():
        response["headers"] = {"X-Request-Id": _REQUEST_ID}
        codes = errors.codes_of(int(status), name)
        if codes:
            response["description"] += f" ({', '.join(codes)})"


def _say(described: Document, owner: str, word: str) -> None:
    """Add description and example. A name that the glossary lacks stays without them, which a test finds."""
    description, example = GLOSSARY.get(f"{owner}.{word}", GLOSSARY.get(word, ("", "")))
    if description:
        described.setdefault("description", description)
    if example:
        in_schema = "in" not in described
        described.setdefault(
            "examples" if in_schema else "example",
            [json.loads(example)] if in_schema else json.loads(example),
        )
