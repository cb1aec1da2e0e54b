"""Experts and MLPs of a config's layers: sizes, matrices by name, and which layers have which."""

from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.checkpoint.matrix import Cut, Matrix, gated_mlp, parameters_of

_DEEPSEEK: Final = frozenset({"deepseek_v2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "glm4_moe", "kimi_k2"})
_QWEN: Final = frozenset({"qwen3_moe", "qwen3_next", "qwen3_5_moe_text"})
WITH_EXPERTS: Final = _DEEPSEEK | _QWEN | {"mixtral", "gpt_oss", "llama4_text", "minimax_m2"}
"""Families with experts in some of their layers."""

_ONE_SHARED: Final = frozenset({"qwen3_next", "qwen3_5_moe_text"})


@dataclass(frozen=True, slots=True)
class Experts:
    """One mixture-of-experts layer.

    Attributes:
        routed: number of experts to choose from.
        active: number of experts that each token goes to.
        width: inner length of an expert.
        parameters: parameters of one routed expert.
        shared_parameters: parameters of the shared experts, which every token passes.
        router_parameters: parameters of the router.
    """

    routed: int
    active: int
    width: int
    parameters: int
    shared_parameters: int
    router_parameters: int

    def touched(self, tokens: float) -> float:
        """Return the mean number of experts that `tokens` tokens need together, if experts are chosen evenly."""
        return float(self.routed * (1.0 - (1.0 - self.active / self.routed) ** tokens))


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """One layer's experts and their weights.

    Attributes:
        experts: their sizes.
        routed: matrices of the routed experts.
        shared: matrices of the shared ones.
    """

    experts: Experts
    routed: tuple[Matrix, ...]
    shared: tuple[Matrix, ...]


def read_experts(keys: ConfigKeys, family: str, hidden: int) -> ExpertWeights:
    """Read the experts of one layer that has them.

    Raises:
        ModelShapeError: a key is missing or wrong.
    """
    routed = keys.count("n_routed_experts", "num_local_experts", "num_experts")
    active = keys.count("num_experts_per_tok", "experts_per_token")
    if active > routed:
        raise keys.refuse(f"each token goes to {active} experts but there are {routed}")
    width = keys.count("moe_intermediate_size", "intermediate_size")
    where = _PLACES.get(family, "mlp.experts")
    if family in {"mixtral", "minimax_m2"}:
        matrices = gated_mlp(f"{where}.0", hidden, width, routed, ("w1", "w3", "w2"))
    elif family in {"gpt_oss", "llama4_text"}:  # all experts in one tensor
        matrices = (
            Matrix(f"{where}.gate_up_proj", hidden, 2 * width, Cut.OUTPUTS, routed, joined=2),
            Matrix(f"{where}.down_proj", width, hidden, Cut.INPUTS, routed),
        )
    else:
        matrices = gated_mlp(f"{where}.0", hidden, width, routed)
    shared = _shared(keys, family, hidden, width)
    biased = family == "gpt_oss"
    gate = hidden if family in _ONE_SHARED else 0  # how much of the shared expert's answer counts
    experts = Experts(
        routed=routed,
        active=active,
        width=width,
        parameters=parameters_of(matrices) // routed + (2 * width + hidden if biased else 0),
        shared_parameters=parameters_of(shared),
        router_parameters=hidden * routed + (routed if biased else 0) + gate,
    )
    return ExpertWeights(experts, matrices, shared)


_PLACES: Final = {
    "mixtral": "block_sparse_moe.experts",
    "minimax_m2": "block_sparse_moe.experts",
    "llama4_text": "feed_forward.experts",
}


def _shared(keys: ConfigKeys, family: str, hidden: int, width: int) -> tuple[Matrix, ...]:
    if family == "llama4_text":
        return gated_mlp("feed_forward.shared_expert", hidden, width)
    if family in _ONE_SHARED:
        return gated_mlp("mlp.shared_expert", hidden, keys.count("shared_expert_intermediate_size"))
    count = keys.number("n_shared_experts", 0)
    return gated_mlp("mlp.shared_experts", hidden, count * width) if count else ()


def layers_with_experts(keys: ConfigKeys, family: str, layers: int) -> tuple[bool, ...]:
    """Return for each layer whether it has experts.

    Raises:
        ModelShapeError: a key is wrong.
    """
    if family not in WITH_EXPERTS:
        return (False,) * layers
    if family in _DEEPSEEK:
        first, every = keys.number("first_k_dense_replace", 0), keys.count("moe_layer_freq", default=1)
        return tuple(layer >= first and layer % every == 0 for layer in range(layers))
    if family in _QWEN:
        dense, every = keys.items("mlp_only_layers") or [], keys.count("decoder_sparse_step", default=1)
        return tuple(layer not in dense and (layer + 1) % every == 0 for layer in range(layers))
    if family == "llama4_text":
        named, every = keys.items("moe_layers"), keys.count("interleave_moe_layer_step")
        return tuple((layer in named) if named is not None else (layer + 1) % every == 0 for layer in range(layers))
    return (True,) * layers


def read_mlp(keys: ConfigKeys, family: str, hidden: int) -> tuple[int, tuple[Matrix, ...]]:
    """Return the inner length of a dense layer's MLP, and its matrices.

    Raises:
        ModelShapeError: a key is missing or wrong.
    """
    width = keys.count("intermediate_size_mlp" if family == "llama4_text" else "intermediate_size")
    if family == "phi3":  # one matrix in the file
        return width, (
            Matrix("mlp.gate_up_proj", hidden, 2 * width, Cut.OUTPUTS, joined=2),
            Matrix("mlp.down_proj", width, hidden, Cut.INPUTS),
        )
    return width, gated_mlp("feed_forward" if family == "llama4_text" else "mlp", hidden, width)
