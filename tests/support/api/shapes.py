"""What two JSON documents have in common when they differ in values only."""

from typing import Any


def shape(document: Any) -> Any:
    """Keys, JSON types and nulls; of a list the shapes of its items, each once. 1 and 1.0 are different."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items()}
    if isinstance(document, list):
        shapes: list[Any] = []
        for item in document:
            if (one := shape(item)) not in shapes:
                shapes.append(one)
        return shapes
    return type(document).__name__
