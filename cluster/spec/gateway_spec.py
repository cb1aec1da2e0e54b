"""The keys of the cluster file's `gateway:` section, as frozen pydantic models: ports, limits, TLS, tenants."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cluster.spec.model_parts.slo_spec import SloSpec
from cluster.spec.parts.engine_control import passed_on
from cluster.spec.parts.forward_headers import HeaderName
from cluster.spec.parts.part import Part, Port, PriorityName, Seconds
from cluster.spec.parts.usage_spec import UsageSpec

PLAIN_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""A Ray label's plain value. In selectors Ray also accepts `!value` and `in(a,b)`, which this does not match."""


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MAX_KEYS = 2
"""API keys that a tenant may have at a time: the old one and the new one."""


class TenantSpec(Part):
    """One customer of the cluster, recognised by an API key.

    Attributes:
        name: name in metrics and logs.
        key_sha256: SHA-256 of the API key, 64 hex digits (`printf %s KEY | sha256sum`); the key itself is never kept.
            A list of two while keys are rotated: both are valid.
        key_file: instead of `key_sha256`: a file on the gateways' nodes that holds the API key, such as one of a
            mounted Kubernetes Secret, or two keys, each on its line. It is read again when it changes.
        models: names of the models the tenant may use; unset: all.
        cache_salt: tenants with equal salts share cached prefixes, as do tenants without a salt. With a salt of its own
            nobody can learn what the tenant asked from how fast an answer comes.
        weight: share of a model's capacity relative to the other tenants' weights, while requests wait.
        priority: priority class of requests without an `x-priority` header.
        max_priority: the most urgent class that `x-priority` may ask for; unset: `priority`.
        requests_per_minute: limit over all gateways and models of the cluster; unset: no limit. The directory deals it
            out to the gateways as they are asked.
        tokens_per_minute: limit on estimated work over all gateways and models, corrected when a request ends (see
            `router.flow_control.work`); unset: no limit.
        requests_at_once: requests over all gateways and models that may wait and run at once; unset: no limit.
        requests_burst: requests that may come at once after a pause; unset: a sixth of `requests_per_minute`, at least
            one.
        tokens_burst: estimated work that may come at once after a pause; unset: a sixth of `tokens_per_minute`. A
            request with more work than this is taken while none of it is used up.
        slo: the latencies that its requests are to have; what it does not say, the model's `slo` says.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    key_sha256: Sha256 | Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=MAX_KEYS)] | None = None
    key_file: str = ""
    models: tuple[str, ...] | None = None
    cache_salt: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    priority: PriorityName = "normal"
    max_priority: PriorityName | None = None
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    requests_at_once: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    requests_burst: Annotated[float, Field(ge=1)] | None = None
    tokens_burst: Annotated[float, Field(ge=1)] | None = None
    slo: SloSpec | None = None

    @property
    def key_digests(self) -> tuple[str, ...]:
        """The SHA-256 of each of its keys; empty before its `key_file` is read."""
        given = self.key_sha256
        return () if given is None else (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if (self.key_sha256 is None) == (not self.key_file):
            raise ValueError(f"tenant {self.name!r}: give its key as key_sha256 or as key_file, one of the two")
        return self


def check_tenants_differ(tenants: Iterable[TenantSpec]) -> None:
    """Check that no two tenants have the same name or key.

    Raises:
        ValueError: two have; the message says which.
    """
    known = list(tenants)
    for what, values in (
        ("named", [tenant.name for tenant in known]),
        ("known by the key_sha256", [digest for tenant in known for digest in tenant.key_digests]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"two tenants are {what} {twice[0]!r}; each must have its own")


class TlsSpec(Part):
    """The certificate of the apps' port.

    Attributes:
        cert_file: PEM file with the certificate chain, on the gateways' nodes; loaded again when it changes.
        key_file: PEM file with the private key, on the gateways' nodes; loaded again when it changes.
    """

    cert_file: Annotated[str, Field(min_length=1)]
    key_file: Annotated[str, Field(min_length=1)]


ORIGIN = r"^(\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s*]+)$"
"""What a browser sends as a page's origin, or `*` for every origin."""


class CorsSpec(Part):
    """Which web pages may use the gateway from a browser.

    Attributes:
        origins: origins whose pages may, such as `https://app.example`: scheme, host, and port where it is not the
            scheme's own; no path and no slash at the end. `*`: pages of every origin. Empty: none.
    """

    origins: tuple[Annotated[str, Field(pattern=ORIGIN)], ...] = ()


ApiPathName = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$"), AfterValidator(passed_on)]
"""A path in plain spelling that steers no engine."""


class CaptureSpec(Part):
    """A trace of the requests that gateways see, for `rackserve replay` and `rackserve simulate`.

    It has times, lengths, hashes of prompt chunks (made with the cluster's secret seed), the model's name, and tenants
    as numbers; never text of a prompt or an answer. Nothing is written unless there is a path.

    Attributes:
        path: a folder on each gateway's machine, made where it is missing; each gateway process writes files of its own
            there. "": nothing is captured.
        max_mb: megabytes (10⁶ bytes) after which a process begins another file.
        files: files of all processes that stay in the folder; of more, those written to longest ago are deleted. A file
            that was written to in the last minute stays.
    """

    path: str = ""
    max_mb: Annotated[float, Field(gt=0, le=100_000)] = 64.0
    files: Annotated[int, Field(ge=1, le=10_000)] = 8

    @model_validator(mode="after")
    def _path_is_absolute(self) -> Self:
        if self.path and not self.path.startswith(("/", "~")):
            raise ValueError(f"path is {self.path!r}; it must begin with /: gateways run in folders of their own")
        return self

    def __bool__(self) -> bool:
        """Return whether anything is captured."""
        return bool(self.path)


class GatewaySpec(Part):
    """The gateways, which apps connect to.

    Attributes:
        host: address to listen on.
        port: port for apps, shared by the gateway processes of a node (SO_REUSEPORT); 0: any free port.
        admin_port: port of `/metrics` and `/state` for operators: the first gateway process of a node takes this port,
            the second the next one, and so on; one that replaces another takes its port seconds after its end. 0: any
            free ports.
        admin_host: address that the admin port listens on. Unset: 127.0.0.1 for a gateway without Ray; in a cluster,
            `host`, where other machines must show the admin key or be RackServe's own commands. Set, and without an
            admin key: other machines, too, see `/metrics` and `/ready` there, for Prometheus.
        admin_key_sha256: SHA-256 of the key that operators send to the admin port as a bearer token, 64 hex digits.
            With it, all but `/health` asks for the key, also on the gateway's own machine.
        admin_key_file: instead of `admin_key_sha256`: a file on the gateways' nodes that holds the key; a changed
            one is taken over within seconds.
        api_paths: further paths that are passed on, such as `/v1/audio/speech`: POST requests whose JSON body names a
            model. Those of vLLM's APIs are passed on without being named; those that steer an engine, such as `/sleep`,
            are not taken.
        replicas: gateway processes in the cluster, or `every_node`: `per_node` processes (unset: one) on each node with
            `node_labels`, also on nodes that join later.
        tls: certificate with which the apps' port speaks HTTPS; unset: plain HTTP.
        node_labels: Ray labels that a node must have, all of them, to run gateways; empty: any node may.
        per_node: most gateway processes on one node, counted for old and new ones separately during a rolling update;
            unset: no limit.
        max_body_bytes: bytes above which a request body is refused with 413.
        max_header_bytes: bytes above which a request head is refused with 431.
        max_incoming_bytes: bytes of request bodies that may be on their way into one gateway process, those that are
            being decompressed included; at least `max_body_bytes`. Where more come, the longest of them is refused with
            503 `overloaded`.
        header_timeout_s: seconds after which an incomplete request head is refused with 408.
        min_body_bytes_per_s: bytes a second that an incomplete request body must bring, as a mean over
            `header_timeout_s`; a slower one is refused with 408.
        idle_timeout_s: seconds after which an idle keep-alive connection is closed.
        connect_timeout_s: seconds a replica may take to accept a connection; then another is tried.
        drain_timeout_s: seconds that a stopping gateway gives running responses to finish.
        max_waiting_requests: requests that may wait in one gateway process, all models together; more are refused with
            429 `queue_full`.
        max_waiting_bytes: bytes of request bodies that may wait in one gateway process, all models together; more are
            refused with 429 `queue_full`.
        forward_headers: names of request headers that are passed on to replicas, such as `baggage` or
            `x-data-parallel-rank`, beside those that always are (`content-type`, `accept`, `traceparent`, `tracestate`
            and Anthropic's); never those of one connection, `host`, `content-length` and `authorization`.
        resume_streams: another replica continues a stream whose replica failed; false: the stream ends with an error.
        heartbeat_s: seconds of waiting after which the answer to a streamed request begins with comments
            (`: waiting`), one more each time, until the replica's first byte, so that no proxy or client on the way
            gives the connection up; errors come as events then. 0: none, the answer begins with the replica's.
        cors: which web pages may use the gateway from a browser; unset: none.
        access_log: file to which each gateway process adds a line of JSON for each request, without its content; `-`:
            the standard output; empty: none.
        usage: whether records are kept of what tenants use, for billing (`rackserve usage`).
        capture: where a trace of the requests is written, for `rackserve simulate`; unset: nowhere.
        tenants: customers who may use the cluster; empty: everybody, as one anonymous tenant.
    """

    host: str = "0.0.0.0"  # noqa: S104 - apps come from other machines
    port: Port = 8000
    admin_port: Port = 8002
    admin_host: str = ""
    admin_key_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    admin_key_file: str = ""
    api_paths: tuple[ApiPathName, ...] = ()
    replicas: Annotated[int, Field(ge=1, le=256)] | Literal["every_node"] = 1
    tls: TlsSpec | None = None
    node_labels: dict[str, str] = Field(default_factory=dict)
    per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    max_body_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    max_header_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = 64 * 1024
    max_incoming_bytes: Annotated[int, Field(ge=1024)] = 512 * 1024 * 1024
    header_timeout_s: Seconds = 30.0
    min_body_bytes_per_s: Annotated[float, Field(ge=1, le=1e9)] = 500.0
    idle_timeout_s: Seconds = 75.0
    connect_timeout_s: Seconds = 3.0
    drain_timeout_s: Seconds = 30.0
    max_waiting_requests: Annotated[int, Field(ge=0)] = 10_000
    max_waiting_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024 * 1024
    forward_headers: Annotated[tuple[HeaderName, ...], Field(max_length=64)] = ()
    resume_streams: bool = True
    heartbeat_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    cors: CorsSpec = CorsSpec()
    access_log: str = ""
    usage: UsageSpec = UsageSpec()
    capture: CaptureSpec = CaptureSpec()
    tenants: tuple[TenantSpec, ...] = ()

    @model_validator(mode="after")
    def _nodes_can_be_counted(self) -> Self:
        unclear = sorted(key for key, value in self.node_labels.items() if not PLAIN_LABEL.fullmatch(value))
        if self.replicas == "every_node" and unclear:
            raise ValueError(
                f"node_labels: {unclear[0]} is {self.node_labels[unclear[0]]!r}, but with replicas: every_node "
                "each label must have one plain value"
            )
        return self

    @model_validator(mode="after")
    def _has_one_admin_key(self) -> Self:
        if self.admin_key_sha256 and self.admin_key_file:
            raise ValueError("give the operators' key as admin_key_sha256 or as admin_key_file, not as both")
        return self

    @model_validator(mode="after")
    def _tenants_differ(self) -> Self:
        check_tenants_differ(self.tenants)
        return self
