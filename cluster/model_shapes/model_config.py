"""Turns a Hugging Face `config.json` into a `ModelShape`.

`cluster.checkpoint` reads the layers and `cluster.quantisation` the format of each matrix; here both are added up by
part. tests/engine_contract/test_model_shapes.py checks each family against the parameter counts of `transformers`' own
classes. An unknown family or algorithm is refused rather than guessed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from cluster.adapter_room.adapter_values import AdapterValues, adapter_values
from cluster.checkpoint.attention_config import read_attention, read_linear_attention
from cluster.checkpoint.config_keys import ConfigKeys
from cluster.checkpoint.experts import ExpertWeights, layers_with_experts, read_experts, read_mlp
from cluster.checkpoint.families import ModelFiles, read_files
from cluster.checkpoint.layer_kinds import LINEAR, windows
from cluster.checkpoint.matrix import Matrix, parameters_of
from cluster.checkpoint.vision_tower import vision_parameters
from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import Precision, Rate
from cluster.quantisation.module_names import ModuleKind
from cluster.quantisation.registry import read_quantisation
from cluster.quantisation.stored_weights import StoredPart, StoredWeights
from cluster.quantisation.weight_format import Activations

_NORMS: Final = {"gemma3_text": 4}
"""Norms of the hidden size in each layer, where they are not two."""

_EIGHT: Final = 8

_RATES: Final[Mapping[Activations, tuple[Rate, ...]]] = {
    Activations.BF16: (Rate.BF16,),
    Activations.FP8: (Rate.FP8, Rate.BF16),
    Activations.INT8: (Rate.INT8, Rate.BF16),
    Activations.FP4: (Rate.FP4, Rate.BF16),
}
"""Kinds of arithmetic to multiply with, best first, by what the weights meet."""
_MTP_KEYS: Final = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
_MTP_WITHOUT_A_KEY: Final = frozenset({"qwen3_next"})
"""Families whose checkpoints have one layer for drafts that their configs do not name."""


def shape_from_config(config: object, name: str) -> ModelShape:
    """Return the shape that a parsed `config.json` describes.

    Args:
        config: the file's content.
        name: name of the model, also for errors.

    Raises:
        ModelShapeError: `config` is not an object, its family or its quantisation is unknown, a key is missing or
            wrong, or vLLM 0.32 would refuse the checkpoint.
    """
    files = read_files(config, name)
    keys, family = files.text, files.family
    layers, hidden = keys.count("num_hidden_layers"), keys.count("hidden_size")
    vocab = keys.count("vocab_size")
    seen = windows(keys, family, layers)
    with_experts = layers_with_experts(keys, family, layers)
    dense_layers, linear_layers = with_experts.count(False), seen.count(LINEAR)
    attention = read_attention(keys, family, hidden, layers - linear_layers)
    linear = read_linear_attention(keys, family, hidden, linear_layers) if linear_layers else None
    experts = read_experts(keys, family, hidden) if dense_layers < layers else None
    width, mlp = read_mlp(keys, family, hidden) if dense_layers else (0, ())
    mlp_bias = 2 * width + hidden if keys.flag("mlp_bias") else 0
    small = layers * _NORMS.get(family, 2) * hidden + hidden + dense_layers * mlp_bias
    small += (layers - linear_layers) * attention.small + (linear_layers * linear.small if linear else 0)
    small += sum(attention.indexer.in_layer) * attention.indexer.small if attention.indexer else 0
    vision = vision_parameters(files, hidden)
    routers = layers - dense_layers
    stored = StoredWeights(read_quantisation(*files.quantisation), files.prefixes)
    plain, routed = list[Matrix](), list[Matrix]()
    for layer in range(layers):
        if seen[layer] != LINEAR:
            stored.add_layer(layer, WeightGroup.ATTENTION, attention.matrices)
            plain += attention.matrices
            if attention.indexer and attention.indexer.in_layer[layer]:
                stored.add_layer(layer, WeightGroup.ATTENTION, attention.indexer.matrices)
                stored.add_plain(WeightGroup.ATTENTION, parameters_of(attention.indexer.plain))
        elif linear:
            stored.add_layer(layer, WeightGroup.ATTENTION, linear.matrices)
            plain += linear.matrices
        if experts and with_experts[layer]:
            _add_experts(stored, layer, experts)
            plain += experts.shared
            routed += experts.routed
        else:
            plain += mlp
            stored.add_layer(layer, WeightGroup.MLP, mlp, title="MLP width")
    if not files.is_tied:
        stored.add_head(WeightGroup.HEAD, Matrix("lm_head", hidden, vocab))
    stored.add_plain(WeightGroup.EMBEDDING, vocab * hidden)
    stored.add_plain(WeightGroup.SMALL, small)
    stored.add_plain(WeightGroup.VISION, vision)
    return ModelShape(
        name=name,
        layers=layers,
        hidden=hidden,
        vocab=vocab,
        mlp_width=width,
        mlp_parameters=sum(matrix.parameters for matrix in mlp),
        dense_layers=dense_layers,
        attention=attention.attention,
        windows=tuple(Counter(window for window in seen if window != LINEAR).items()),
        experts=experts.experts if experts else None,
        tied=files.is_tied,
        small_parameters=small,
        max_context=keys.count("max_position_embeddings", default=1 << 20),
        precisions={WeightGroup(part): _precision(each) for part, each in sorted(stored.parts.items())},
        linear=linear.attention if linear else None,
        vision_parameters=vision,
        cuts=stored.cuts,
        formats=stored.formats if stored.parts else (),
        cautions=tuple(_cautions(files, stored)),
        adapter=adapter_values(plain)
        + adapter_values(routed, are_experts=True)
        + AdapterValues(
            whole=routers * (hidden + experts.experts.routed) if experts else 0, tables=2 * (vocab + hidden)
        ),
        mtp_layers=_mtp_layers(keys, family),
    )


def _mtp_layers(keys: ConfigKeys, family: str) -> int:
    """Return how many layers of its own a model has for drafts, by the keys that vLLM 0.32 reads."""
    named = max(keys.number(key, 0) for key in _MTP_KEYS)
    return named or (1 if family in _MTP_WITHOUT_A_KEY else 0)


def _add_experts(stored: StoredWeights, layer: int, weights: ExpertWeights) -> None:
    stored.add_layer(layer, WeightGroup.EXPERTS, weights.routed, ModuleKind.EXPERTS, "expert width")
    biases = weights.experts.routed * weights.experts.parameters - parameters_of(weights.routed)
    stored.add_plain(WeightGroup.EXPERTS, biases)
    stored.add_layer(layer, WeightGroup.SHARED_EXPERTS, weights.shared, title="shared expert width")
    stored.add_plain(WeightGroup.ROUTER, weights.experts.router_parameters)


def _precision(stored: StoredPart) -> Precision:
    return Precision(stored.weights.name, stored.bits, _RATES[stored.weights.activations])


def _cautions(files: ModelFiles, stored: StoredWeights) -> Iterator[str]:
    """Yield what is to be known before the checkpoint is served."""
    if files.wrapper and not files.whole.has("vision_config"):
        yield "the config has no vision_config: what looks at images is not counted"
    if files.text.text("torch_dtype", "dtype") == "float32" or files.whole.text("torch_dtype", "dtype") == "float32":
        yield "the checkpoint is float32: vLLM converts it to bf16 as it loads, but the download is twice as large"
    formats = [part.weights for part in stored.parts.values()]
    if any(weights.activations == Activations.FP8 and weights.bits < _EIGHT for weights in formats):
        yield "vLLM 0.32 has kernels for FP8 activations with 4-bit weights on Hopper alone"
    if stored.mixed:
        yield (
            f"vLLM 0.32 refuses {stored.mixed[0]}, which it joins from matrices of which some are quantised and some "
            "are not, or not alike"
        )
