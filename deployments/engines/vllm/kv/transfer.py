"""What passing KV blocks on means to vLLM: its connector, the environment of that, and what a replica says of itself.

vLLM's `NixlConnector` moves KV blocks: the engine that decodes reads them from the memory of the one that prefilled.
"""

import importlib.util
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cluster.errors import EngineStartError
from cluster.spec.kv_duties import KvDuties
from deployments.process.listening_ports import free_ports
from router.replicas.kv_transfer import KvTransfer

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig

CONNECTOR: Final = "NixlConnector"
PULLS: Final = frozenset({CONNECTOR, "NixlPullConnector"})
"""Names of the connector with which the engine that decodes reads; with the other, the one that prefills writes."""
SEVERAL: Final = "MultiConnector"
"""Name of the connector that has others: blocks are saved to all of them, and fetched from the first that has them."""
LEASE_S: Final = 30
"""Default seconds that a prompt is kept for an engine that does not fetch it: vLLM's own, written down."""
INSTALL: Final = "pip install --no-deps nixl==1.5.1 nixl-cu12==1.5.1"
"""Gets NIXL for the CPU and for CUDA 12; later releases pin wheels that are not on every index."""


def connector_config(duties: KvDuties, asked: object) -> object:
    """Return the argument `kv_transfer_config`: the duties', with everything that the user gives in place of it.

    Args:
        duties: which KV blocks the engine passes on.
        asked: the user's `kv_transfer_config`, as YAML gives it; None: there is none.

    Returns:
        A mapping; without duties, and for an argument of a wrong form, which vLLM's parser refuses, `asked` itself.
    """
    given = as_mapping(asked)
    if not duties or given is None:
        return asked
    both = duties.sends and duties.receives
    ours: dict[str, Any] = {"kv_role": "kv_both" if both else "kv_producer" if duties.sends else "kv_consumer"}
    if given.get("kv_connector", CONNECTOR) != CONNECTOR:
        return {**ours, **given}
    # Without `recompute` a request fails whose blocks cannot be fetched.
    ours |= {"kv_connector": CONNECTOR, "kv_load_failure_policy": "recompute"}
    extra = given.get("kv_connector_extra_config", {})
    if isinstance(extra, Mapping):
        given = {**given, "kv_connector_extra_config": {"kv_lease_duration": LEASE_S, **extra}}
    return {**ours, **given}


def uses_nixl(config: object) -> bool:
    """Return whether `kv_transfer_config` names one of vLLM's NIXL connectors."""
    parts = connectors_of(as_mapping(config) or {})
    return any(str(part["kv_connector"]).startswith("Nixl") for part in parts)


def connectors_of(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the connectors that a `kv_transfer_config` names, each as the mapping that does."""
    extra = config.get("kv_connector_extra_config")
    if config.get("kv_connector") != SEVERAL or not isinstance(extra, Mapping):
        return [config] if config.get("kv_connector") else []
    listed = extra.get("connectors")
    parts = listed if isinstance(listed, list) else []
    return [part for part in parts if isinstance(part, Mapping) and part.get("kv_connector")]


def check_nixl() -> None:
    """Check that NIXL is installed, which takes milliseconds; vLLM would tell after it has loaded the model.

    Raises:
        EngineStartError: it is not; the message says how to install it.
    """
    if not any(importlib.util.find_spec(name) for name in ("nixl", "nixl_rocm")):
        raise EngineStartError(f"{CONNECTOR} needs the package nixl, which is not installed here: {INSTALL}")


def side_channel(host: str, data_ranks: int, *, cpu: bool) -> dict[str, str]:
    """Return the environment variables with which other engines find this one.

    The scheduler of data-parallel rank `n` listens at the port plus `n`, and answers for all its tensor ranks. The
    blocks themselves go over connections that UCX makes.

    Args:
        host: this machine's address, as other engines reach it.
        data_ranks: number of data-parallel ranks.
        cpu: vLLM is built for CPUs: UCX then need not look for other ways than TCP.

    Raises:
        EngineStartError: no ports are free.
    """
    port = free_ports(host, data_ranks)
    if port is None:
        raise EngineStartError(f"no {data_ranks} free ports in a row at {host} for the KV connector's side channel")
    found = {"VLLM_NIXL_SIDE_CHANNEL_HOST": host, "VLLM_NIXL_SIDE_CHANNEL_PORT": str(port)}
    return found | ({"UCX_TLS": "tcp,self"} if cpu else {})


def transfer_of(config: "VllmConfig") -> KvTransfer | None:
    """Return what an engine can send and receive; None: it has no connector by which gateways can have prompts fetched.

    Two engines fit if vLLM's own check at their first contact finds the same (`compute_nixl_compatibility_hash`).
    """
    from vllm import __version__  # noqa: PLC0415 - imported once the environment is set

    pulling, model, cache = _pulling(config), config.model_config, config.cache_config
    if pulling is None:
        return None
    layers, heads, head_size = (
        model.get_total_num_hidden_layers(),
        model.get_total_num_kv_heads(),
        model.get_head_size(),
    )
    return KvTransfer(
        connector=CONNECTOR,
        sends=pulling["kv_role"] in {"kv_producer", "kv_both"},
        receives=pulling["kv_role"] in {"kv_consumer", "kv_both"},
        block_tokens=cache.block_size,
        layout=f"{model.model}, {model.dtype}, {layers} layers of {heads} KV heads of {head_size} in "
        f"{_kv_dtype(config)}, vLLM {__version__}{_drafts(config)}",
        bytes_per_token=kv_bytes_per_token(config),
        lease_s=float(pulling.get("kv_connector_extra_config", {}).get("kv_lease_duration", LEASE_S)),
    )


def kv_bytes_per_token(config: "VllmConfig") -> int:
    """Return the bytes of KV cache that a token takes, over all ranks."""
    model = config.model_config
    values: int = model.get_total_num_hidden_layers() * model.get_total_num_kv_heads() * model.get_head_size()
    return values * (1 if model.use_mla else 2) * int(_kv_dtype(config).itemsize)


def _kv_dtype(config: "VllmConfig") -> "torch.dtype":
    from vllm.utils.torch_utils import get_kv_cache_torch_dtype  # noqa: PLC0415 - once the environment is set

    return get_kv_cache_torch_dtype(config.cache_config.cache_dtype, config.model_config.dtype)


def _pulling(config: "VllmConfig") -> Mapping[str, Any] | None:
    """Return the connector with which an engine that decodes reads, perhaps one of several; None: there is none."""
    transfer = config.kv_transfer_config
    if transfer is None:
        return None
    names = ("kv_connector", "kv_role", "kv_connector_extra_config")
    parts = connectors_of({name: getattr(transfer, name) for name in names})
    return next((part for part in parts if part["kv_connector"] in PULLS), None)


def _drafts(config: "VllmConfig") -> str:
    """Return what drafts from the state that passes on with the blocks, which must be equal; "": nothing does."""
    speculative = config.speculative_config
    if speculative is None or not speculative.use_eagle():
        return ""
    return f", drafts by {speculative.method} of {speculative.draft_model_config.model}"


def wants_checked_params(config: "VllmConfig") -> bool:
    """Return whether requests' `kv_transfer_params` are to be checked before the connector has them.

    Where decoders hand blocks back to prefillers too (`bidirectional_kv_xfer`), other params are right.
    """
    pulling = _pulling(config)
    return pulling is not None and not pulling.get("kv_connector_extra_config", {}).get("bidirectional_kv_xfer")


def as_mapping(asked: object) -> Mapping[str, Any] | None:
    """Return an argument that YAML gives as a mapping or as JSON; empty: it is not given; None: it is neither."""
    if asked is None:
        return {}
    if isinstance(asked, str):
        try:
            asked = json.loads(asked)
        except ValueError:
            return None
    return asked if isinstance(asked, Mapping) else None
