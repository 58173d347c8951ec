"""Operations of the DWS API without a meaning here, or not built yet: each answers with the reason of its refusal."""

from collections.abc import Callable

from fastapi import Request

from stillhouse.api.document.published import NOT_YET, REFUSED, Published
from stillhouse.api.operations.routing import ControlOf, router
from stillhouse.api.shapes.render import Json
from stillhouse.control import refusal

routes = router()


def _refusing(published: Published) -> Callable[[ControlOf, str, Request], Json]:
    def refuse(control: ControlOf, project_id: str, request: Request) -> Json:
        cluster = request.path_params.get("cluster_id")
        resource = f"cluster/{cluster}" if cluster else f"project/{project_id}"
        refusal.refuse(control, project_id, published.operation, resource, published.note)

    return refuse


for _one in (*REFUSED, *NOT_YET):
    routes.add_api_route(
        _one.path,
        _refusing(_one),
        methods=[_one.method],
        operation_id=_one.operation,
        status_code=400,
        description=f"{'Not yet' if _one.standing == 'not yet' else 'Refused'}: {_one.note}.",
        response_model=None,
    )
