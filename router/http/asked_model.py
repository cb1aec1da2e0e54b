"""Says which model a request means, so that the gateway and the engine behind it mean the same one.

Engines read bodies by themselves: a body without a model means the engine's own default, and of two readings of a body
they may take the other. So a body that can be read in two ways is refused, and a model that the body leaves out is put
into it wherever more than one can be meant.
"""

from typing import Final
from urllib.parse import parse_qsl

from router.http.access_control.auth import Tenant
from router.http.api.answers.resume import CHAT
from router.http.api.envelope import Envelope, EnvelopeError, check_model_is_named_once, read_json
from router.http.api.form import read_form, with_model_field
from router.http.api.paths import Body
from router.http.api.tasks import answers, wrong_task
from router.http.api.whole_chat import read_chat
from router.http.data_plane.data_plane import DataPlane
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome
from router.prompt.bodies import ChatBody
from router.prompt.outline import Outline, outline_of
from router.prompt.weight import MAX_READ_WEIGHT, TooHeavyError, check_weight

MAX_LISTED: Final = 20
"""Most models that an error lists by name."""
_JSON: Final = Body.JSON  # looking up an enum's member takes ten times as long as looking up a global
_NONE: Final = Body.NONE
_EMPTY: Final = Envelope()


class AskedModelError(Exception):
    """The request means no model that its key may use, or its body is of a kind that the path does not take.

    Args:
        outcome: why it is refused.
        message: what was wrong and what would be right, for the client. Names no model that the key may not use.
        model: the model that was asked for; "" unless the cluster serves it.
        param: the body's field that is wrong; None: it is the body as a whole.
    """

    def __init__(self, outcome: Outcome, message: str, *, model: str = "", param: str | None = "model") -> None:
        super().__init__(message)
        self.outcome = outcome
        self.model = model
        self.param = param


def read_body(incoming: IncomingRequest, kind: Body, tenant: Tenant) -> tuple[Envelope, Outline | ChatBody | None]:
    """Return the fields of the body that routing needs, and the body in outline where it has one, or decoded if it was.

    Raises:
        AskedModelError: the body's type is not the one that the path takes, or it has too many values to be read.
        EnvelopeError: the body cannot be read, or could be read in two ways.
    """
    body = incoming.body
    if not body:
        return _EMPTY, None
    content_type = incoming.headers.get(b"content-type", b"")
    if kind is _JSON:
        if content_type and content_type != b"application/json" and not _is_json(content_type):
            raise _wrong_type(content_type, kind)
        envelope, read = _read_json(incoming, body)
        if tenant.models is not None:
            check_model_is_named_once(read.rest if isinstance(read, Outline) else body)
        return envelope, read
    if content_type.partition(b";")[0].strip().lower() != b"multipart/form-data":
        raise _wrong_type(content_type, kind)
    return read_form(body, content_type), None


def _read_json(incoming: IncomingRequest, body: bytes) -> tuple[Envelope, Outline | ChatBody | None]:
    path = incoming.path.decode("ascii")
    try:
        outline = outline_of(path, body)
        weight = check_weight(body) if outline is None else 0
    except TooHeavyError as error:
        raise AskedModelError(Outcome.BODY_TOO_LARGE, str(error), param=None) from error
    if outline is not None:
        return read_json(outline.rest), outline
    if path == CHAT and weight <= MAX_READ_WEIGHT and (whole := read_chat(body)) is not None:
        return whole
    return read_json(body), None


def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.lower().partition(b";")
    media_type = media_type.strip()
    is_json = media_type == b"application/json" or media_type.endswith(b"+json")
    return is_json and (b"charset" not in parameters or b"utf-8" in parameters or b"utf8" in parameters)


def _wrong_type(content_type: bytes, kind: Body) -> AskedModelError:
    shown = content_type[:80].decode("latin-1")
    message = f"this path takes {kind.value}, in UTF-8, but the content-type is {shown!r}"
    return AskedModelError(Outcome.UNSUPPORTED_MEDIA_TYPE, message, param=None)


class AskedModel:
    """Finds the model that a request means.

    Args:
        plane: the gateway's shared state.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def resolve(
        self, incoming: IncomingRequest, envelope: Envelope, tenant: Tenant, kind: Body, deployment: str | None
    ) -> tuple[str, dict[str, str]]:
        """Return the model, and the members that the JSON body must get so that the engine means the same one.

        A form that needs it gets its field at once.

        Args:
            incoming: the request.
            envelope: what was read of its body.
            tenant: whose it is.
            kind: what its body is.
            deployment: the model that the path names, which counts before the body's (Azure); None: it names none.

        Raises:
            AskedModelError: it means no model, or none that this tenant may use, or one that does not answer this
                path; or it says what is for the gateway to say.
        """
        if (
            envelope.kv_transfer_params is not None
        ):  # it could name any address, and what came from there would be cached
            message = "kv_transfer_params says where an engine fetches memory: that is for the gateway to say"
            raise AskedModelError(Outcome.BAD_REQUEST, message, param="kv_transfer_params")
        models = self._plane.models
        named = envelope.model or None  # to engines, too, an empty name means their default
        model = deployment or named
        if model is None:
            usable = self.usable(tenant)
            meant = [name for name in usable if name in models.flows] or usable  # adapters are asked for by name
            if len(meant) != 1:
                message = f"the request names no model; there are: {_listed(usable)}"
                raise AskedModelError(Outcome.MODEL_MISSING, message)
            model = meant[0]
        else:
            self._check_named(model, tenant)
        self._check_task(model, incoming.path)
        if incoming.query and kind is not _NONE and tenant.models is not None:
            _check_query(incoming.query, model)
        is_default = named is None and deployment is None and len(models.flows) == 1 and model in models.flows
        if model == named or is_default:
            return model, {}
        if kind is Body.FORM:
            self._put_into_form(incoming, named, model)
            return model, {}
        return model, {"model": model}

    def _check_named(self, model: str, tenant: Tenant) -> None:
        """Check that a model that is asked for by name is there, and the tenant's.

        Raises:
            AskedModelError: it is not.
        """
        models = self._plane.models
        is_known = models.named(model) is not None
        if not tenant.may_use(model):
            # The same words whether it exists or not: what a key may not use must not be found out by it.
            message = f"this API key may not use a model {model[:200]!r}; it may use: {_listed(self.usable(tenant))}"
            raise AskedModelError(Outcome.FORBIDDEN_MODEL, message, model=model if is_known else "")
        if not is_known and models.unheard:
            message = f"the model {model[:200]!r} is not known yet; a server has not answered so far"
            raise AskedModelError(Outcome.NO_REPLICA, message)
        if not is_known:
            message = f"the model {model[:200]!r} does not exist; there are: {_listed(self.usable(tenant))}"
            raise AskedModelError(Outcome.MODEL_NOT_FOUND, message)
        if model in models.adapters and (lack := models.lack_of(model)):
            raise AskedModelError(Outcome.NO_REPLICA, f"the adapter {model!r} cannot be served now: {lack}")

    def _check_task(self, model: str, path: bytes) -> None:
        """Check that a model is served for what a path does.

        Raises:
            AskedModelError: it is served for something else.
        """
        models = self._plane.models
        task = models.tasks.get(models.adapters.get(model, model))  # an adapter does what its base does
        if task is not None and not answers(task, path):
            raise AskedModelError(Outcome.BAD_REQUEST, wrong_task(model, task, path), model=model)

    def usable(self, tenant: Tenant) -> list[str]:
        """Return the names of the models that a tenant may use, sorted."""
        return [name for name in self._plane.models.names() if tenant.may_use(name)]

    @staticmethod
    def _put_into_form(incoming: IncomingRequest, named: str | None, model: str) -> None:
        form = None
        if named is None and incoming.body:
            form = with_model_field(incoming.body, incoming.headers.get(b"content-type", b""), model)
        if form is None:
            raise EnvelopeError(f"the form must have the field model, and there {model!r}, as the path says")
        incoming.body = form


def _check_query(query: bytes, model: str) -> None:
    """Check that a query names no other model: some servers, such as LiteLLM's proxy, let it count before the body's.

    Raises:
        AskedModelError: it names another one.
    """
    if any(name == "model" and value != model for name, value in parse_qsl(query.decode("latin-1"))):
        raise AskedModelError(Outcome.BAD_REQUEST, f"the query names another model than {model!r}, which is asked for")


def _listed(models: list[str]) -> str:
    if not models:
        return "none"
    more = len(models) - MAX_LISTED
    return ", ".join(models[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
