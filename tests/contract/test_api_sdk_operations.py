"""The official Python SDK calls every operation, and its typed models read every answer whole."""

import json
from collections.abc import Iterator

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException

from stillhouse.domain.api_operations.not_yet import NOT_YET
from stillhouse.domain.api_operations.refused import REFUSED
from support.api.application import Service, serving_service
from support.api.page import routed
from support.api.sdk_tour import NOT_OF_DWS, SdkTour, assert_read, sdk_tour
from support.api.tour import NEEDS_SERVERS, take


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def tour(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkTour]:
    with sdk_tour(service, tmp_path_factory.mktemp("home")) as made:
        take(made)
        yield made


def test_the_sdk_is_sent_to_every_operation_it_knows(tour: SdkTour) -> None:
    assert {name for name, _, _ in routed()} - NEEDS_SERVERS - NOT_OF_DWS == tour.read.keys()


@pytest.mark.parametrize(
    "operation",
    sorted(
        {name for name, _, _ in routed()}
        - NEEDS_SERVERS
        - NOT_OF_DWS
        - {one.id for one in (*REFUSED, *NOT_YET)}
    ),
)
def test_an_answer_is_read_whole(tour: SdkTour, operation: str) -> None:
    response = tour.read[operation]
    assert not isinstance(response, Exception), response
    assert response.status_code in (200, 202)
    assert_read(response, json.loads(response.raw_content), operation)


@pytest.mark.parametrize("operation", [one.id for one in (*REFUSED, *NOT_YET)])
def test_a_refusal_is_read_with_its_code(tour: SdkTour, operation: str) -> None:
    refusal = tour.read[operation]
    assert isinstance(refusal, ServiceResponseException)
    assert (refusal.status_code, refusal.error_code) == (400, "DWS.5095")
