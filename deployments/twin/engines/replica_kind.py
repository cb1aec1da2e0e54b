"""What one replica of a pool is: its step times, memory and limits, as its cluster file and the planner say."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cluster.errors import SpecError, SpecProblem
from cluster.model_shapes.known_models import CHECKPOINTS, KNOWN_CONFIGS
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import BF16, FP8, PRECISIONS, Precision
from cluster.planning.option import STEP_TOKENS, default_batch
from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.hardware import ACCELERATORS, Accelerator, accelerator_named
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import USABLE_SHARE, kv_bytes_on_one_gpu
from cluster.spec.kv_duties import KvDuties
from cluster.spec.model_spec import ModelSpec
from deployments.engines.sim.generation.adapters import SimAdapters
from deployments.engines.sim.generation.scheduler import MAX_BATCHED_TOKENS
from deployments.simulator.disaggregation.kv_links import KvLinks
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.disaggregation.step_times import EngineTimes
from deployments.twin.engines.grid_times import GridTimes
from deployments.twin.engines.measured_times import MeasuredSteps, MeasuredTimes
from deployments.twin.engines.model_guess import ModelGuess
from deployments.twin.engines.sim_times import SimTimes
from router.replicas.kv_transfer import KvTransfer

ShapeOf = Callable[[str, str], ModelShape]
"""Returns a model's shape, by the known name or path given, and the key to name in an error."""


@dataclass(frozen=True, slots=True)
class ReplicaKind:
    """What the replicas of one pool are.

    Attributes:
        spec: the model as the pool runs it.
        times: the engine's step times.
        kv_tokens: tokens that its KV cache holds.
        step_tokens: tokens of the largest step of each lane.
        max_sequences: most sequences that it runs at once.
        gpus: GPUs of a replica.
        accelerator: kind of GPU; "": any.
        start_s: seconds from its place until it is ready.
        transfer: what it sends and fetches of its KV cache; None: nothing.
        links: the links over which it does; None: none.
        caches: prompts stay cached for later ones.
        adapters: names of the adapters that it can serve.
        block_tokens: tokens of a block of its KV cache, as they are simulated.
    """

    spec: ModelSpec
    times: EngineTimes
    kv_tokens: int
    step_tokens: int
    max_sequences: int
    gpus: int
    accelerator: str
    start_s: float
    transfer: KvTransfer | None = None
    links: KvLinks | None = None
    caches: bool = True
    adapters: tuple[str, ...] = ()
    block_tokens: int = BLOCK_TOKENS

    def adapter_room(self) -> SimAdapters | None:
        """Return the slots for adapters of one replica; None: it has none."""
        room = self.spec.adapter_room
        if not room:
            return None
        made = SimAdapters(room, self.spec.sim.adapter_load_s)
        made.set_known(self.adapters)
        return made


def replica_kinds(  # noqa: PLR0913, PLR0917 - where each part comes from
    model: ModelSpec,
    guess: ModelGuess,
    usual_hardware: str,
    shape_of: ShapeOf,
    source: str,
    block_tokens: int = BLOCK_TOKENS,
) -> list[ReplicaKind]:
    """Return what the replicas of each pool of a model are.

    Args:
        model: the model.
        guess: what the cluster file does not say of it.
        usual_hardware: kind of GPU of pools that name none.
        shape_of: returns a model's shape.
        source: name of the cluster file, for errors.
        block_tokens: tokens of a block of KV cache.

    Raises:
        SpecError: the hardware or the model is not known, or does not fit.
    """
    names = tuple(adapter.name for adapter in model.adapters)
    kinds = [_kind(model, pool, guess, usual_hardware, shape_of, source) for pool in model.in_pools()]
    return [
        replace(
            kind,
            adapters=names,
            block_tokens=block_tokens,
            transfer=replace(kind.transfer, block_tokens=block_tokens) if kind.transfer else None,
        )
        for kind in kinds
    ]


def _kind(  # noqa: PLR0913, PLR0917 - what its caller has, for one pool
    model: ModelSpec, pool: ModelSpec, guess: ModelGuess, usual_hardware: str, shape_of: ShapeOf, source: str
) -> ReplicaKind:
    start_s = guess.start_s if guess.start_s is not None else pool.autoscaling.expected_start_seconds
    duties = model.duties_of(pool)
    if pool.engine == "sim":
        return _simulated(pool, duties, guess.start_s if guess.start_s is not None else pool.sim.start_s or start_s)
    if guess.measured is not None:
        if duties:
            raise _problem(source, f"models.{model.name}.pools", "measured engines hand no prompts to one another")
        return _measured(pool, guess.measured, start_s)
    named = accelerator_named(pool.accelerator)
    name = guess.hardware or (named.name if named is not None else usual_hardware)
    if name not in ACCELERATORS:
        raise _problem(
            source,
            f"models.{model.name}",
            f"the kind of GPU is not known ({name or 'none is named'}): say it with --hardware; there are: "
            + ", ".join(ACCELERATORS),
        )
    hardware = ACCELERATORS[name]
    arguments = pool.engine_args
    shape = _shape(pool, guess.config, shape_of)
    asked = guess.precision or ("fp8" if arguments.get("quantization") == "fp8" else "")
    if asked:
        shape = shape.in_precision(PRECISIONS[asked])
    parallel = pool.parallel
    layout = Layout(parallel.tensor, parallel.pipeline, parallel.data, parallel.experts_whole)
    reason = layout.why_not(shape, hardware)
    cost = ReplicaCost(
        shape,
        hardware,
        layout,
        _kv_precision(pool),
        int(arguments.get("max_num_batched_tokens") or STEP_TOKENS),
        float(arguments.get("gpu_memory_utilization") or USABLE_SHARE),
    )
    memory = cost.memory
    if not reason and memory.kv_cache <= 0:
        reason = f"its weights leave no memory for the KV cache on {hardware.title}"
    if reason:
        raise _problem(source, f"models.{model.name}.parallel", reason)
    kv_tokens = int(layout.data * memory.kv_cache / kv_bytes_on_one_gpu(shape, layout, 1.0, cost.kv_precision))
    most = int(arguments.get("max_num_seqs") or default_batch(hardware))
    return ReplicaKind(
        spec=pool,
        times=GridTimes(cost),
        kv_tokens=kv_tokens,
        step_tokens=cost.step_tokens,
        max_sequences=most * layout.data,
        gpus=layout.gpus,
        accelerator=pool.accelerator,
        start_s=start_s,
        transfer=_transfer(duties, f"{shape.name} {cost.kv_precision.name}", _kv_bytes(cost)) if duties else None,
        links=KvLinks(hardware, layout.gpus, _kv_bytes(cost)) if duties else None,
        caches=bool(arguments.get("enable_prefix_caching", True)),
    )


def _measured(pool: ModelSpec, steps: MeasuredSteps, start_s: float) -> ReplicaKind:
    return ReplicaKind(
        spec=pool,
        times=MeasuredTimes(steps),
        kv_tokens=steps.kv_tokens,
        step_tokens=steps.step_tokens,
        max_sequences=steps.sequences,
        gpus=pool.parallel.gpus,
        accelerator=pool.accelerator,
        start_s=start_s,
        caches=bool(pool.engine_args.get("enable_prefix_caching", True)),
    )


def _simulated(pool: ModelSpec, duties: KvDuties, start_s: float) -> ReplicaKind:
    sim = pool.sim
    links = None
    if duties:
        # One link as fast as the file says, inside a domain and between two.
        hardware: Accelerator = replace(
            ACCELERATORS["h100"],
            link_bytes_per_s=sim.transfer_bytes_per_s,
            network_bytes_per_s=sim.transfer_bytes_per_s,
        )
        links = KvLinks(hardware, 1, sim.kv_bytes_per_token)
    return ReplicaKind(
        spec=pool,
        times=SimTimes(sim),
        kv_tokens=sim.kv_blocks * sim.block_tokens,
        step_tokens=MAX_BATCHED_TOKENS,
        max_sequences=sim.max_num_seqs,
        gpus=pool.parallel.gpus,
        accelerator=pool.accelerator,
        start_s=start_s,
        transfer=_transfer(duties, "sim", sim.kv_bytes_per_token) if duties else None,
        links=links,
        caches=sim.prefix_caching,
    )


def _transfer(duties: KvDuties, layout: str, bytes_per_token: float) -> KvTransfer:
    return KvTransfer(
        "NixlConnector",
        sends=duties.sends,
        receives=duties.receives,
        block_tokens=BLOCK_TOKENS,
        layout=layout,
        bytes_per_token=round(bytes_per_token),
    )


def _kv_bytes(cost: ReplicaCost) -> float:
    return cost.shape.kv_bytes_per_token(cost.kv_precision)


def _shape(pool: ModelSpec, config: str, shape_of: ShapeOf) -> ModelShape:
    if config:
        return shape_of(config, f"models.{pool.name}.config")
    known = {checkpoint: name for name, checkpoint in CHECKPOINTS.items()}
    name = known.get(pool.source, pool.source)
    if name not in KNOWN_CONFIGS and pool.name in KNOWN_CONFIGS:
        name = pool.name
    return shape_of(name, f"models.{pool.name}.source")


def _kv_precision(pool: ModelSpec) -> Precision:
    dtype: Any = pool.kv_cache.dtype or pool.engine_args.get("kv_cache_dtype") or ""
    return FP8 if str(dtype).startswith("fp8") else BF16


def _problem(source: str, key: str, message: str) -> SpecError:
    return SpecError(source, [SpecProblem(key, message)])
