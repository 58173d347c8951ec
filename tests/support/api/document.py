"""What the OpenAPI document declares."""

from support.api.application import Service


def declared_statuses(service: Service) -> dict[str, set[int]]:
    """The statuses each operation may answer with."""
    document = service.client.send("GET", "/openapi.json", {}).json
    return {
        one["operationId"]: {int(status) for status in one["responses"]}
        for methods in document["paths"].values()
        for one in methods.values()
    }
