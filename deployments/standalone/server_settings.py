"""What an operator says of a server, in a servers file, by an option or a call, made an address that can be used."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.spec.servers_file import ServerSpec, sendable_key
from deployments.standalone.server_address import ServerAddress, address_at
from router.http.wire.upstream.upstream_tls import client_context


@dataclass(frozen=True, slots=True)
class ServerDefaults:
    """What holds for a server that does not say otherwise.

    Attributes:
        key: the API key; "": none.
        ca_file: the authorities that may sign certificates; "": the system's.
        pass_authorization: servers get each client's own API key, and `key` is for polls.
        max_requests: requests that may run on one server at once; 0: as many as flow control finds.
        rate_probe: servers may be probed for their rates.
    """

    key: str = field(default="", repr=False)
    ca_file: str = ""
    pass_authorization: bool = False
    max_requests: int = 0
    rate_probe: bool = True


def address_of(spec: ServerSpec, defaults: ServerDefaults) -> ServerAddress:
    """Return the address of a server.

    Raises:
        ValueError: a file that it names cannot be used; the message begins with the key's name.
    """
    plain = address_at(spec.address)
    ca_file = (spec.ca_file or defaults.ca_file) if plain.access.uses_tls else ""
    if ca_file:
        try:
            client_context(ca_file)
        except OSError as error:
            raise ValueError(f"ca_file: {error}") from error
    passes = defaults.pass_authorization if spec.pass_authorization is None else spec.pass_authorization
    access = replace(plain.access, ca_file=ca_file, key=_key_of(spec) or defaults.key, passes_authorization=passes)
    return replace(
        plain,
        access=access,
        max_requests=spec.max_requests or defaults.max_requests,
        rate_probe=defaults.rate_probe if spec.rate_probe is None else spec.rate_probe,
    )


def _key_of(spec: ServerSpec) -> str:
    if spec.key_file is None:
        return spec.key or ""
    try:
        return sendable_key(Path(spec.key_file).read_text(encoding="ascii").strip())
    except OSError as error:
        raise ValueError(f"key_file: {spec.key_file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"key_file: {spec.key_file} holds no API key: printable ASCII, no spaces") from error
