"""What tells equal tokens apart, worded beforehand as vLLM's own functions word it in its events."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.engines.extra_keys import prompt_extras

BLOCK = 16
TOKENS = 100
MEDIA = (("image-a", 5, 20), ("image-b", 30, 40), ("image-a", 70, 2), ("image-c", 80, 16))
CASES: list[dict[str, Any]] = [
    {"adapter": "", "cache_salt": "", "media": ()},
    {"adapter": "", "cache_salt": "tenant", "media": ()},
    {"adapter": "lora-1", "cache_salt": "", "media": ()},
    {"adapter": "", "cache_salt": "", "media": MEDIA},
    {"adapter": "lora-1", "cache_salt": "tenant", "media": MEDIA},
]
SCRIPT = """
import json, sys
from vllm.lora.request import LoRARequest
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm.sampling_params import SamplingParams
from vllm.v1.core.kv_cache_utils import generate_block_hash_extra_keys, to_event_extra_keys
from vllm.v1.request import Request

asked = json.loads(sys.argv[1])
found = []
for case in asked["cases"]:
    features = [
        MultiModalFeatureSpec(data=None, modality="image", identifier=name, mm_position=PlaceholderRange(first, count))
        for name, first, count in case["media"]
    ]
    request = Request(
        request_id="r",
        prompt_token_ids=list(range(asked["tokens"])),
        sampling_params=SamplingParams(max_tokens=1),
        pooling_params=None,
        mm_features=features or None,
        lora_request=LoRARequest(case["adapter"], 1, "/adapter") if case["adapter"] else None,
        cache_salt=case["cache_salt"] or None,
    )
    keys, at = [], 0
    for start in range(0, asked["tokens"] // asked["block"] * asked["block"], asked["block"]):
        extra, at = generate_block_hash_extra_keys(request, start, start + asked["block"], at)
        keys.append(extra)
    found.append(to_event_extra_keys(keys))
print("FOUND", json.dumps(found))
"""


@pytest.mark.vllm
def test_blocks_are_told_apart_as_vllm_does() -> None:
    """Adapters, salts and media of every position: what is worded for a prompt is what its blocks' events say."""
    root = Path(__file__).parents[2]
    asked = json.dumps({"cases": CASES, "tokens": TOKENS, "block": BLOCK})
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, asked],
        capture_output=True,
        text=True,
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    line = next(line for line in run.stdout.splitlines() if line.startswith("FOUND "))
    told = json.loads(line.removeprefix("FOUND "))
    for case, keys in zip(CASES, told, strict=True):
        worded = prompt_extras(TOKENS // BLOCK, BLOCK, **case)
        expected = [json.dumps(key, separators=(",", ":")) if key else "" for key in keys or []]
        assert (worded or [""] * len(expected)) == expected
    assert any(told[-1])
