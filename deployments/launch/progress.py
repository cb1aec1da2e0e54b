"""How far an application has started: what `rackserve serve` and `up` tell while one waits."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """How far one model, or one pool of it, has started.

    Attributes:
        ready: replicas that serve.
        wanted: replicas wanted.
        message: Serve's remark; "": none.
    """

    ready: int
    wanted: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the application has started.

    Attributes:
        models: each model's progress, by name; of a model with pools each pool's, by label.
        gateways: gateways that listen.
        url: where apps connect; "" until a gateway says that every model has a replica.
        unmet: telemetry that a model's policy needs and none of its replicas provides. A start fails with it; an
            application that serves goes on.
        missing: why replicas cannot start on the machines that there are, by label, or `gateway`.
        away: addresses of the machines of the file's `launch` section that are no nodes of Ray; of a cloud's machines,
            which have none yet, how many, in words.
    """

    models: Mapping[str, ModelProgress]
    gateways: int
    url: str = ""
    unmet: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    away: tuple[str, ...] = ()
