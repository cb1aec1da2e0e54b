"""Finds a LoRA adapter's files, and says in seconds what keeps an engine from loading them."""

import json
from pathlib import Path
from typing import Final

from cluster.errors import ModelSourceError
from deployments.models.source import HF_ID

CONFIG: Final = "adapter_config.json"
FILES: Final = (CONFIG, "adapter_model.safetensors", "adapter_model.bin")
"""An adapter's files in PEFT's form; what else its repository has (training states, plots) is not fetched."""


def adapter_folder(source: str, most_rank: int) -> Path:
    """Return the folder with an adapter's files; those of a Hugging Face id are fetched, which may take minutes.

    Args:
        source: a folder or a Hugging Face id.
        most_rank: the highest rank that the engine has room for.

    Raises:
        ModelSourceError: there is no such adapter, or none that the engine can load.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if source.startswith(("/", "./", "../", "~")) or not HF_ID.fullmatch(source):
            raise ModelSourceError(f"source {source!r}: no such folder, and no Hugging Face id (`owner/name`)")
        folder = _fetched(source)
    _check(folder.resolve(), source, most_rank)
    return folder.resolve()


def _fetched(source: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - comes with vLLM, which not every machine has
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelSourceError(f"source {source!r} cannot be fetched: {str(error).splitlines()[0]}") from error


def _check(folder: Path, source: str, most_rank: int) -> None:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelSourceError(f"source {source!r} has no {CONFIG}, so it is no LoRA adapter") from error
    except (OSError, ValueError) as error:
        raise ModelSourceError(f"source {source!r}: {CONFIG} cannot be read: {error}") from error
    kind = config.get("peft_type", "LORA") if isinstance(config, dict) else None
    if kind != "LORA":
        raise ModelSourceError(f"source {source!r} is no LoRA adapter: its peft_type is {kind!r}")
    ranks = [config.get("r", 0), *(config.get("rank_pattern") or {}).values()]
    rank = max(ranks) if all(isinstance(each, int) for each in ranks) else 0
    if not rank:
        raise ModelSourceError(f"source {source!r}: {CONFIG} gives no rank `r`")
    if rank > most_rank:
        raise ModelSourceError(
            f"source {source!r} has rank {rank}, above the model's `adapter_rank` of {most_rank}: raise that"
        )
    if not any((folder / name).is_file() for name in FILES[1:]):
        raise ModelSourceError(f"source {source!r} has no weights: neither {FILES[1]} nor {FILES[2]}")
