"""Errors of an engine's web framework, in the shape that OpenAI's clients understand."""

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def openai_shaped(_request: "Request", exc: Exception) -> "Response":
    """Answer for an unknown path or method, where the framework by itself says `{"detail": …}`."""
    from starlette.responses import JSONResponse  # noqa: PLC0415 - it comes with the engine

    status = HTTPStatus(getattr(exc, "status_code", 500))
    error = {"message": getattr(exc, "detail", status.phrase), "type": status.phrase, "param": None, "code": status}
    return JSONResponse({"error": error}, status_code=status, headers=getattr(exc, "headers", None))
