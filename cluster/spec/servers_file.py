"""The servers file: the OpenAI-compatible servers behind a gateway that runs without a cluster."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from cluster.spec.checked_yaml import FileKind
from cluster.spec.parts.part import Part
from cluster.spec.parts.server_url import ServerUrl, server_url
from cluster.spec.yaml_tree import Location

_KEY: Final = re.compile(r"[\x21-\x7e]{1,4096}")


def _checked_url(text: object) -> object:
    return str(server_url(text)) if isinstance(text, str) else text


def sendable_key(key: str) -> str:
    """Return an API key that can stand in a header.

    Raises:
        ValueError: it cannot; the message does not repeat it.
    """
    if not _KEY.fullmatch(key):
        raise ValueError("an API key has printable ASCII characters without spaces, at most 4096")
    return key


class ServerSpec(Part):
    """One OpenAI-compatible server.

    Attributes:
        url: its base URL, `https://HOST:PORT/PATH`: a path before `/v1` may follow. A name with several addresses
            stands for one server at each of them.
        key: the API key it wants; unset: that of `--replica-key`, if given.
        key_file: instead of `key`: a file that holds it.
        ca_file: PEM file with the authorities that may sign its certificate; unset: that of `--upstream-ca`, or the
            system's.
        pass_authorization: it gets each client's own API key; `key` is then used to ask for its models alone. Unset: as
            `--pass-authorization` says.
        max_requests: requests that may run there at once, others wait in the gateway; unset: that of
            `--max-requests-per-server`, or as many as flow control finds.
        rate_probe: a few short prompts may be sent there while it is idle, to find its rates; unset: yes, unless
            `--no-rate-probe` is given.
    """

    url: Annotated[str, BeforeValidator(_checked_url)]
    key: Annotated[
        str | None, AfterValidator(lambda key: key if key is None else sendable_key(key)), Field(repr=False)
    ] = None
    key_file: Annotated[str, Field(min_length=1)] | None = None
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    pass_authorization: bool | None = None
    max_requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rate_probe: bool | None = None

    @property
    def address(self) -> ServerUrl:
        """Return the parts of `url`."""
        return server_url(self.url)


class ServersFile(Part):
    """A whole servers file.

    Attributes:
        servers: the servers; the list may be empty, as servers may join later.
    """

    servers: tuple[ServerSpec, ...]


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    servers = data.get("servers")
    first_at: dict[str, int] = {}
    for position, server in enumerate(servers if isinstance(servers, list) else ()):
        if not isinstance(server, dict):
            continue
        if server.get("key") is not None and server.get("key_file") is not None:
            yield ("servers", position, "key_file"), "give the key as key or as key_file, one of the two"
        try:
            name = server_url(server["url"]).name
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # told by the key's own check
        first = first_at.setdefault(name, position)
        if first != position:
            yield ("servers", position, "url"), f"{name} is already the server of servers[{first}]"


SERVERS_FILE: Final = FileKind(
    name="servers file", root=ServersFile, needs="it needs a list of servers, which may be []", rules=_rules
)
