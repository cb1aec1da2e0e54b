"""The models that the contract is tested on: the same KV cache, one of simulated blocks and one of real ones."""

from cluster.spec.model_spec import ModelSpec

KV_BLOCKS = 48
"""KV blocks of 32 tokens: three prompts of 640 tokens evict everything, which takes a CPU seconds with real vLLM."""
MAX_TOKENS = KV_BLOCKS * 32
"""Of a request, prompt and answer: it may fill the cache."""
LONG_ANSWER = MAX_TOKENS - 100
"""Tokens of an answer that is to be still running whenever a test looks."""

SIM = ModelSpec.model_validate(
    {
        "name": "contract-model",
        "engine": "sim",
        "engine_args": {"runner": "generate"},  # as the real one, it has no embeddings
        "adapter_slots": 2,
        "sim": {"kv_blocks": KV_BLOCKS, "block_tokens": 32, "prefill_tokens_per_s": 4000, "inter_token_s": 0.01},
    }
)
VLLM = ModelSpec.model_validate(
    {
        "name": "contract-model",
        "engine": "vllm",
        "source": "smollm2-135m-instruct",
        "adapter_slots": 2,
        "adapter_rank": 8,
        "engine_args": {
            "dtype": "float32",  # a CPU without instructions for bfloat16 takes several times as long over it
            "max_model_len": MAX_TOKENS,
            "num_gpu_blocks_override": KV_BLOCKS + 1,  # vLLM keeps one for itself
            "kv_cache_memory_bytes": 256 << 20,
            "enable_auto_tool_choice": True,
            "tool_call_parser": "hermes",
        },
        "env": {"VLLM_ENABLE_RESPONSES_API_STORE": "1"},
    }
)
