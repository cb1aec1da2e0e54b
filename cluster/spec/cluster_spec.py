"""The keys of the cluster file, as frozen pydantic models.

`cluster.spec.cluster_file` reads them from YAML and reports every problem at once.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.launch_spec import LaunchSpec
from cluster.spec.model_spec import ModelSpec
from cluster.spec.parts.part import Part, Port


class ClusterSettings(Part):
    """Settings of the cluster as a whole.

    Attributes:
        name: name of the Serve application, shown in `rackserve status`.
        serve_port: Ray Serve's own HTTP port, for health checks only; apps never use it. 0: it has none.
        warm_cache: every node downloads the models that may run there, before replicas start and when it joins later;
            so a start, and a scale-up, need not.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")] = "rackserve"
    serve_port: Port = 0
    warm_cache: bool = False


class PlacementSpec(Part):
    """How gangs (replicas of several GPUs) are placed.

    Attributes:
        spares_per_domain: nodes in each NVLink domain kept free for gangs that lost a node; at least one node of each
            domain stays open to other gangs.
    """

    spares_per_domain: Annotated[int, Field(ge=0, le=1024)] = 0


class ClusterSpec(Part):
    """A whole cluster file.

    Attributes:
        cluster: settings of the cluster as a whole.
        gateway: the gateways, which apps connect to.
        placement: how gangs are placed.
        models: the models that apps can use.
        launch: the machines that `rackserve up` starts Ray on; other commands do not need it.
    """

    cluster: ClusterSettings = ClusterSettings()
    gateway: GatewaySpec = GatewaySpec()
    placement: PlacementSpec = PlacementSpec()
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1)]
    launch: LaunchSpec | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are named {twice[0]!r}; each name must be unique")
        return self

    def in_pools(self) -> tuple[ModelSpec, ...]:
        """Return each pool of each model, in the file's order, as `ModelSpec.in_pools` does."""
        return tuple(pool for model in self.models for pool in model.in_pools())

    def model(self, name: str) -> ModelSpec:
        """Return the model called `name`.

        Raises:
            KeyError: there is no model of that name.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)
