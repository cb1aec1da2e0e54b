"""How a request ended, in one word: at once the metric label, the log field and the API's error code."""

from enum import StrEnum


class Outcome(StrEnum):
    """Every way a request can end. The values never change: dashboards and clients rely on them."""

    OK = "ok"
    UPSTREAM_STATUS = "upstream_status"
    CLIENT_LEFT = "client_left"
    BAD_REQUEST = "bad_request"
    INVALID_JSON = "invalid_json"
    MODEL_MISSING = "model_missing"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN_MODEL = "forbidden_model"
    FORBIDDEN_ORIGIN = "forbidden_origin"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    HEADER_TIMEOUT = "header_timeout"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    HEADER_TOO_LARGE = "header_too_large"
    EXPECTATION_FAILED = "expectation_failed"
    OVERLOADED = "overloaded"
    NO_REPLICA = "no_replica"
    NO_CAPACITY = "no_capacity"
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    RATE_LIMITED = "rate_limited"
    REPLICA_FAILED = "replica_failed"
    REPLICA_TIMEOUT = "replica_timeout"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal_error"


HTTP_STATUS: dict[Outcome, int] = {
    Outcome.BAD_REQUEST: 400,
    Outcome.INVALID_JSON: 400,
    Outcome.MODEL_MISSING: 400,
    Outcome.UNAUTHORIZED: 401,
    Outcome.FORBIDDEN_MODEL: 403,
    Outcome.FORBIDDEN_ORIGIN: 403,
    Outcome.MODEL_NOT_FOUND: 404,
    Outcome.NOT_FOUND: 404,
    Outcome.METHOD_NOT_ALLOWED: 405,
    Outcome.UNSUPPORTED_MEDIA_TYPE: 415,
    Outcome.HEADER_TIMEOUT: 408,
    Outcome.BODY_TOO_LARGE: 413,
    Outcome.UNSUPPORTED_ENCODING: 415,
    Outcome.HEADER_TOO_LARGE: 431,
    Outcome.EXPECTATION_FAILED: 417,
    Outcome.OVERLOADED: 503,
    Outcome.NO_REPLICA: 503,
    Outcome.NO_CAPACITY: 503,
    Outcome.QUEUE_FULL: 429,
    Outcome.DEADLINE: 429,
    Outcome.RATE_LIMITED: 429,
    Outcome.REPLICA_FAILED: 502,
    Outcome.REPLICA_TIMEOUT: 504,
    Outcome.SHUTTING_DOWN: 503,
    Outcome.INTERNAL: 500,
}
"""HTTP status of the answer to a request that the gateway refuses or fails. The other outcomes have none."""
