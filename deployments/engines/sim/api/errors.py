"""Errors of requests, in the form in which vLLM gives them."""

import msgspec


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: the HTTP status.
        kind: the error's type.
        message: what is wrong.
        param: the field that is wrong; None: no single one.
    """

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param

    @property
    def body(self) -> bytes:
        """The error as JSON in OpenAI's form."""
        fields = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return msgspec.json.encode({"error": fields})


def bad_request(message: str, param: str | None = None) -> RequestError:
    """Return the error for a request whose meaning is wrong."""
    return RequestError(400, "BadRequestError", message, param)


def bad_value(message: str, param: str, value: object = None) -> RequestError:
    """Return the error for one field's value, which vLLM names in the message too."""
    shown = "" if value is None else f", value={value}"
    return bad_request(f"{message} (parameter={param}{shown})", param)


def invalid_body(message: str, path: str = "") -> RequestError:
    """Return the error for a body that is no JSON, or has a field of a wrong type at `path`."""
    return RequestError(400, "Bad Request", f"1 validation error:\n  {message}", f"body.{path}" if path else "body")


def engine_died() -> RequestError:
    """Return the error for a request that the engine's end has cut off."""
    return RequestError(500, "InternalServerError", "the engine died while it worked on this request")
