"""Any operation of the API by the official Python SDK, and whether its typed models read the answer whole."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huaweicloudsdkdws.v2 as models
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkdws.v2.region.dws_region import DwsRegion

from support.api.application import Service
from support.api.page import routed
from support.api.tour import Tour

_PRIMITIVES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
}
# The DWS client has no such call: our own, those of IAM, and those of Open Telekom Cloud.
NOT_OF_DWS = {name for name, _, path in routed() if path == "/" or path.startswith(("/stillhouse/", "/v3"))}
NOT_OF_DWS |= {"CreateClusterTag", "DeleteClusterTag", "BatchCreateClusterTags"}


class SdkTour(Tour):
    """The tour by the SDK; what each answer was read into is in `read`."""

    def __init__(self, service: Service, client: Any) -> None:
        super().__init__(service)
        self.client = client
        self.read: dict[str, Any] = {}

    def ask(self, operation: str, method: str, path: str, body: Any = None, **query: str) -> Any:
        if operation in NOT_OF_DWS:
            return super().ask(operation, method, path, body, **query)
        request = self._request(operation, path, body, query)
        call = getattr(self.client, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation).lower())
        try:
            response = call(request)
        except ServiceResponseException as refusal:
            self.read[operation] = refusal
            return None
        self.read[operation] = response
        return json.loads(response.raw_content)

    def _request(self, operation: str, path: str, body: Any, query: dict[str, str]) -> Any:
        kind = getattr(models, f"{operation}Request")
        (template,) = [template for name, _, template in routed() if name == operation]
        parts = zip(template.split("/"), path.split("/"), strict=True)
        fields: dict[str, Any] = {name[1:-1]: given for name, given in parts if name.startswith("{")}
        fields |= query
        if body is not None:
            fields["body"] = body
        return build(kind, {name: value for name, value in fields.items() if name in kind.openapi_types})


def build(kind: Any, document: dict[str, Any]) -> Any:
    """An SDK's model of a JSON object, by the types that the model declares."""
    names = {word: attribute for attribute, word in kind.attribute_map.items()}
    fields = {
        names[word]: _built(kind.openapi_types[names[word]], value)
        for word, value in document.items()
        if word in names
    }
    return kind(**fields)


def _built(declared: str, value: Any) -> Any:
    inner = re.fullmatch(r"list\[(\w+)\]", declared)
    if inner and isinstance(value, list):
        return [_built(inner[1], item) for item in value]
    if isinstance(value, dict) and hasattr(models, declared):
        return build(getattr(models, declared), value)
    if isinstance(value, list) and hasattr(models, declared):
        return build(
            getattr(models, declared), value[0]
        )  # the SDK sends one tag where Terraform sends a list
    return int(value) if declared == "int" else value


def assert_read(read: Any, document: Any, where: str) -> None:
    """Every key that the model knows was read, as the type that it declares."""
    for attribute, declared in read.openapi_types.items():
        word = read.attribute_map[attribute]
        if word not in document:
            continue
        _assert_value(getattr(read, attribute), document[word], declared, f"{where}.{word}")


def _assert_value(value: Any, sent: Any, declared: str, where: str) -> None:
    inner = re.fullmatch(r"list\[(\w+)\]", declared)
    if sent is None:
        assert value is None, where
    elif inner:
        assert len(value) == len(sent), where
        for one, sent_one in zip(value, sent, strict=True):
            _assert_value(one, sent_one, inner[1], where)
    elif declared in _PRIMITIVES:
        assert isinstance(sent, _PRIMITIVES[declared]), (where, declared, sent)
        assert value == sent, where
    elif hasattr(value, "openapi_types"):
        assert_read(value, sent, where)
    else:
        assert value == sent, where


@contextmanager
def sdk_tour(service: Service, home: Path) -> Iterator[SdkTour]:
    """By a client that has nothing but what a user would give it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))  # the SDK keeps an application id there
        patch.setenv("HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1", service.endpoint)
        key = service.client
        client = (
            models.DwsClient.new_builder()
            .with_credentials(BasicCredentials(key.access_key, key.secret_key, key.project))
            .with_region(DwsRegion.value_of("local-1"))
            .build()
        )
        yield SdkTour(service, client)
