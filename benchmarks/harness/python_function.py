"""The ten-item handler as a Python function."""

from typing import Any


def handler(request: Any) -> dict[str, int]:
    document = request.get_json(silent=True) or {}
    return {"total": sum(item["qty"] * item["price"] for item in document.get("items", []))}
