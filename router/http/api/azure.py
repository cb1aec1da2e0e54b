"""Azure's paths for OpenAI's API: the deployment, which is the model, stands in the path."""

from dataclasses import dataclass
from urllib.parse import unquote

PREFIX = b"/openai/"
"""How Azure's paths begin."""
_DEPLOYMENTS = b"/openai/deployments/"
_VERSION = b"api-version="


@dataclass(frozen=True, slots=True)
class AzureTarget:
    """What an Azure path stands for.

    Attributes:
        path: the path of OpenAI's own API.
        query: the query, without Azure's `api-version`.
        model: the deployment that the path names; None: it names none.
    """

    path: bytes
    query: bytes
    model: str | None

    @property
    def url(self) -> bytes:
        """Path and query."""
        return self.path + b"?" + self.query if self.query else self.path


def azure_target(path: bytes, query: bytes) -> AzureTarget | None:
    """Return what a path under /openai/ stands for; None: it is none of Azure's.

    `/openai/deployments/NAME/chat/completions` is `/v1/chat/completions` for the model NAME, `/openai/v1/responses` and
    `/openai/responses` are `/v1/responses`.
    """
    kept = b"&".join(part for part in query.split(b"&") if part and not part.startswith(_VERSION))
    if path.startswith(_DEPLOYMENTS):
        name, slash, rest = path.removeprefix(_DEPLOYMENTS).partition(b"/")
        if not name or not slash or not rest:
            return None
        return AzureTarget(b"/v1/" + rest, kept, unquote(name.decode("ascii")))
    rest = path.removeprefix(PREFIX)
    return AzureTarget(b"/v1/" + rest.removeprefix(b"v1/"), kept, None)
