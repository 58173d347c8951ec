"""Operations of the DWS API without a meaning here, or not built yet: each answers with the reason of its refusal."""

from collections.abc import Callable

from fastapi import Request

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.values import Json
from stillhouse.control.access import not_offered
from stillhouse.domain.api_operations.not_yet import NOT_YET
from stillhouse.domain.api_operations.operation import Operation
from stillhouse.domain.api_operations.refused import REFUSED

routes = Router()


def _refusing(refused: Operation) -> Callable[[ControlOf, str, Request], Json]:
    def refuse(control: ControlOf, project_id: str, request: Request) -> Json:
        cluster = request.path_params.get("cluster_id")
        resource = f"cluster/{cluster}" if cluster else f"project/{project_id}"
        not_offered.refuse(control, project_id, refused.id, resource, refused.note)

    return refuse


for _one in (*REFUSED, *NOT_YET):
    routes.add_api_route(
        _one.path,
        _refusing(_one),
        methods=[_one.method],
        operation_id=_one.id,
        status_code=400,
        description=f"{'Not yet' if _one.standing == 'not yet' else 'Refused'}: {_one.note}.",
        response_model=None,
    )
