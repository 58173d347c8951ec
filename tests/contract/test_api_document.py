"""The OpenAPI document: nothing in it is undescribed, and what is answered is what it declares."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import validator_for

from stillhouse.api.gateway import errors
from stillhouse.domain.api_operations.not_yet import NOT_YET
from stillhouse.domain.api_operations.refused import REFUSED
from support.api.application import Service, serving_service
from support.api.client import Answer
from support.api.golden import example
from support.api.page import routed
from support.api.shapes import shape
from support.api.tour import ELSEWHERE, Tour, take

Document = dict[str, Any]
_JSON = "application/json"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def document(service: Service) -> Document:
    read: Document = service.client.send("GET", "/openapi.json", {}).json
    return read


@pytest.fixture(scope="module")
def tour(service: Service) -> dict[str, Answer]:
    return take(Tour(service))


def operations(document: Document) -> list[tuple[str, Document]]:
    return [(path, one) for path, methods in document["paths"].items() for one in methods.values()]


def test_it_has_every_operation_that_is_routed(document: Document) -> None:
    shown = {
        (one["operationId"], method.upper(), path)
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    }
    assert shown == routed()


def test_every_field_is_described(document: Document) -> None:
    undescribed = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, described in schema.get("properties", {}).items()
        if not described.get("description")
    ]
    assert undescribed == []


def test_every_field_without_fields_of_its_own_has_an_example(document: Document) -> None:
    def is_leaf(described: Document) -> bool:
        kinds = [described, *described.get("anyOf", ())]
        return not any("$ref" in str(kind) for kind in kinds)

    without = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, described in schema.get("properties", {}).items()
        if is_leaf(described) and "examples" not in described
    ]
    assert without == []


def test_every_example_is_valid_by_its_own_schema(document: Document) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            for one in described.get("examples", ()):
                checked = validator_for({**described, "components": document["components"]})
                assert checked.is_valid(one) or one is None, (name, field, one)


def test_every_parameter_is_described_and_every_one_of_a_path_declared(document: Document) -> None:
    for path, operation in operations(document):
        parameters = operation["parameters"]
        assert all(one["description"] for one in parameters), operation["operationId"]
        in_path = {one["name"] for one in parameters if one["in"] == "path"}
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_every_operation_has_a_summary_a_success_and_every_error_with_its_codes(document: Document) -> None:
    refusals = {str(status) for status, _ in errors.every_answer()}
    for _, operation in operations(document):
        responses = operation["responses"]
        assert operation["summary"]
        assert "422" not in responses
        assert refusals <= responses.keys()
        is_refused = operation["operationId"] in {one.id for one in (*REFUSED, *NOT_YET)}
        assert bool({"200", "201", "202"} & responses.keys()) is not is_refused
        for status, response in responses.items():
            assert "X-Request-Id" in response["headers"]
            assert response["content"][_JSON]["schema"], (operation["operationId"], status)
            for code in errors.codes_of(int(status), operation["operationId"]):
                assert code in response["description"]


def test_the_scheme_of_signing_is_declared_for_all(document: Document) -> None:
    scheme = document["components"]["securitySchemes"]["signature"]
    assert (scheme["name"], scheme["in"]) == ("Authorization", "header")
    assert document["security"] == [{"signature": []}]


def test_what_is_answered_is_what_is_declared(document: Document, tour: dict[str, Answer]) -> None:
    for _, operation in operations(document):
        name = operation["operationId"]
        if name in ELSEWHERE:
            continue
        answer = tour[name]
        declared = operation["responses"][str(answer.status)]["content"][_JSON]["schema"]
        validator_for({**declared, "components": document["components"]}).validate(answer.json)


def test_every_good_answer_is_a_json_object(tour: dict[str, Answer]) -> None:
    """Go and Terraform cannot read an empty body, Java none without its type."""
    for name, answer in tour.items():
        assert answer.headers["content-type"].startswith(_JSON), name
        assert answer.raw.startswith(b"{") and isinstance(answer.json, dict), name


def test_the_tour_visits_every_operation(tour: dict[str, Answer]) -> None:
    assert {name for name, _, _ in routed()} == tour.keys() | ELSEWHERE


@pytest.mark.parametrize("name", sorted(name for name, _, _ in routed() if name not in ELSEWHERE))
def test_an_answer_equals_its_example_in_shape_and_types(tour: dict[str, Answer], name: str) -> None:
    kept = example(name)
    answer = tour[name]
    assert (answer.status, shape(answer.json)) == (kept["status"], shape(kept["body"]))
