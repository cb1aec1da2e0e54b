"""How a replica is reached, where that is not plain HTTP with the cluster's own credential."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Access:
    """What a request to one server needs beyond its host and port.

    Attributes:
        uses_tls: requests go over TLS (HTTPS).
        ca_file: PEM file with the certificate authorities that may sign its certificate; "": the system's.
        server_name: the name in its certificate, sent as SNI and as `host`; "": the host it is reached at.
        path_prefix: what stands before the API's paths there, such as `/openai`; "": nothing.
        key: the API key it wants, sent as a bearer token; "": the gateway's own credential, if it has one.
        passes_authorization: it gets the client's own API key, as sent, in place of `key`.
    """

    uses_tls: bool = False
    ca_file: str = ""
    server_name: str = ""
    path_prefix: str = ""
    key: str = field(default="", repr=False)
    passes_authorization: bool = False


PLAIN = Access()
"""Plain HTTP with the gateway's credential, as the cluster's own replicas are reached."""
