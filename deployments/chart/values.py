"""The chart's values as pydantic models: the cluster file's own spec, and around it the values for Kubernetes.

Nothing reads values through these models at run time. Helm checks values against the JSON schema made from them, and
`templates/_validate.tpl` checks what a schema cannot express.
"""

# ruff: noqa: N815, D101
# Keys are spelled in Kubernetes' and Helm's way. Each is documented in values.yaml, where people read it.

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.spec.cluster_spec import ClusterSpec


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Kubernetes = dict[str, Any]
"""A part of a manifest that is passed on unchanged; the API server checks it."""

Count = Annotated[int, Field(ge=0, le=10_000)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$")]
"""A Kubernetes quantity: `500m`, `16Gi`."""
CpuQuantity = Annotated[str, Field(pattern=r"^([1-9][0-9]{0,3}(\.[0-9]+)?|[1-9][0-9]{3,6}m)$")]
"""CPUs as text: `"16"`, `7500m`."""
OptionalQuantity = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?)?$")]
"""A quantity; "": the chart's own."""
ObjectName = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$")]
"""The name of a Kubernetes object; "": none."""
GroupName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]


class Image(_Part):
    repository: Annotated[str, Field(min_length=1)]
    tag: str
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
    pullPolicy: Literal["Always", "IfNotPresent", "Never"]
    pullSecrets: list[ObjectName]


class PoolScale(_Part):
    min: Annotated[int, Field(ge=0, le=4096)] = 1
    max: Annotated[int, Field(ge=1, le=4096)] = 1


class ModelScale(PoolScale):
    pools: dict[str, PoolScale] = {}


class GroupScale(_Part):
    replicas: Count = 1
    min: Count = 1
    max: Count = 1


class Rdma(_Part):
    resource: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")]
    count: Annotated[int, Field(ge=1, le=64)]
    memlock: Literal["capability", "node"] = "capability"


class Resources(_Part):
    requests: Kubernetes = {}
    limits: Kubernetes = {}


class ProfileValues(_Part):
    """The resources and needs of one kind of node."""

    gpus: Annotated[int, Field(ge=0, le=16)] = 0
    gpuResource: Annotated[str, Field(pattern=r"^([a-z0-9.-]+/[A-Za-z0-9._-]+)?$")] = "nvidia.com/gpu"
    resourceClaims: list[Kubernetes] = []
    cpu: Annotated[int, Field(ge=1, le=1024)] | CpuQuantity = 1
    memory: Quantity = "1Gi"
    shm: Quantity = "1Gi"
    domainGpus: Annotated[int, Field(ge=1, le=1024)] = 1
    nodeSelector: dict[str, str] = {}
    tolerations: list[Kubernetes] = []
    affinity: Kubernetes = {}
    computeDomain: bool = False
    cliqueAffinity: bool = False
    rdma: Rdma | None = None
    runtimeClassName: ObjectName = ""
    podSecurityContext: Kubernetes = {}
    securityContext: Kubernetes = {}
    resources: Resources = Resources()
    podLabels: dict[str, LabelValue] = {}
    envFrom: list[Kubernetes] = []
    volumes: list[Kubernetes] = []
    volumeMounts: list[Kubernetes] = []
    initContainers: list[Kubernetes] = []
    sidecars: list[Kubernetes] = []
    topologySpreadConstraints: list[Kubernetes] = []
    hostNetwork: bool = False


class Group(ProfileValues):
    """One group of equal nodes: a rack."""

    name: GroupName
    profile: str = ""
    gpuDomain: LabelValue = ""
    replicas: Count = 1
    min: Count = 1
    max: Count = 1
    image: str = ""
    labels: dict[str, LabelValue] = {}
    env: list[Kubernetes] = []
    annotations: dict[str, str] = {}
    priorityClassName: ObjectName = ""
    idleTimeoutSeconds: Count = 0


class PlacementValues(_Part):
    resources: Kubernetes
    nodeSelector: dict[str, str]
    tolerations: list[Kubernetes]
    affinity: Kubernetes
    priorityClassName: ObjectName


class Head(PlacementValues):
    env: list[Kubernetes]


class Service(_Part):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    annotations: dict[str, str]
    port: Annotated[int, Field(ge=0, le=65535)]
    loadBalancerSourceRanges: list[str]
    loadBalancerClass: str
    externalTrafficPolicy: Literal["", "Cluster", "Local"]


class SecretName(_Part):
    secretName: ObjectName


class SecretKey(_Part):
    name: ObjectName
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")]


class Ingress(_Part):
    enabled: bool
    className: ObjectName
    host: str
    annotations: dict[str, str]
    tlsSecretName: ObjectName


class HttpRoute(_Part):
    enabled: bool
    parentRefs: list[Kubernetes]
    hostnames: list[str]
    annotations: dict[str, str]


class DisruptionBudget(_Part):
    maxUnavailable: Count


class Keda(_Part):
    serverAddress: Annotated[str, Field(pattern=r"^(https?://.+)?$")]
    query: str
    threshold: Annotated[float, Field(gt=0)]
    pollingIntervalSeconds: Annotated[int, Field(ge=1, le=3600)]
    authenticationRef: ObjectName


class GatewayAutoscaling(_Part):
    by: Literal["none", "hpa", "keda"]
    min: Annotated[int, Field(ge=1, le=1024)]
    max: Annotated[int, Field(ge=1, le=1024)]
    cpuPercent: Annotated[int, Field(ge=1, le=99)]
    scaleDownAfterSeconds: Annotated[int, Field(ge=0, le=3600)]
    keda: Keda


class GatewayValues(PlacementValues):
    workload: Literal["WorkerGroup", "Deployment"]
    autoscaling: GatewayAutoscaling
    replicas: Annotated[int, Field(ge=1, le=256)]
    processes: Annotated[int, Field(ge=1, le=64)]
    service: Service
    tls: SecretName
    tenantKeys: SecretName
    ingress: Ingress
    httpRoute: HttpRoute
    podDisruptionBudget: DisruptionBudget
    topologySpreadConstraints: list[Kubernetes]


class RocksDb(_Part):
    size: Quantity
    storageClassName: ObjectName
    accessModes: list[Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]]
    deletionPolicy: Literal["DeleteWithCluster", "Retain"]


class Redis(_Part):
    address: Annotated[str, Field(pattern=r"^((redis|rediss)://)?[^/]*$")]
    passwordSecret: SecretKey


class Gcs(_Part):
    backend: Literal["rocksdb", "redis", "none"]
    rocksdb: RocksDb
    redis: Redis


class Auth(_Part):
    enabled: bool
    secretName: ObjectName


class AutoscalerValues(_Part):
    enabled: bool
    version: Literal["v1", "v2"]
    idleTimeoutSeconds: Count
    resources: Kubernetes


class UpgradeStrategy(_Part):
    type: Literal["None", "NewCluster"]


class Drain(_Part):
    extraSeconds: Annotated[int, Field(ge=30, le=86_400)]


class Security(_Part):
    pod: Kubernetes
    container: Kubernetes


class ServiceAccount(_Part):
    create: bool
    name: ObjectName
    annotations: dict[str, str]


class ModelCache(_Part):
    type: Literal["emptyDir", "hostPath", "pvc"]
    size: OptionalQuantity
    weights: dict[str, Quantity]
    path: Annotated[str, Field(pattern=r"^/")]
    claimName: ObjectName
    readOnly: bool
    warm: bool


class NetworkPolicy(_Part):
    enabled: bool
    appsFrom: list[Kubernetes]
    metricsFrom: list[Kubernetes]
    operatorFrom: Annotated[list[Kubernetes], Field(min_length=1)]
    egress: list[Kubernetes]


class ServiceMonitor(_Part):
    enabled: bool
    labels: dict[str, str]
    interval: Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m)$")]


class PodMonitor(ServiceMonitor):
    pass


class PrometheusRule(_Part):
    enabled: bool
    labels: dict[str, str]


class Dashboards(PrometheusRule):
    annotations: dict[str, str]


class Monitoring(_Part):
    serviceMonitor: ServiceMonitor
    podMonitor: PodMonitor
    prometheusRule: PrometheusRule
    dashboards: Dashboards


class ChartValues(_Part):
    """All of values.yaml. Keys are required here, because values.yaml gives each a default."""

    valuesCheckedBy: Literal["chart", "helm"]
    nameOverride: str
    fullnameOverride: str
    image: Image
    rayVersion: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    clusterFile: ClusterSpec
    models: dict[str, ModelScale]
    scale: dict[str, GroupScale]
    groups: Annotated[list[Group], Field(min_length=1)]
    profiles: dict[str, ProfileValues]
    head: Head
    gateway: GatewayValues
    gcs: Gcs
    auth: Auth
    autoscaler: AutoscalerValues
    upgradeStrategy: UpgradeStrategy
    drain: Drain
    security: Security
    serviceAccount: ServiceAccount
    modelCache: ModelCache
    hfTokenSecret: SecretKey
    env: list[Kubernetes]
    podAnnotations: dict[str, str]
    podLabels: dict[str, LabelValue]
    labels: dict[str, LabelValue]
    annotations: dict[str, str]
    schedulerName: str
    networkPolicy: NetworkPolicy
    podDisruptionBudget: DisruptionBudget
    monitoring: Monitoring
