"""Settings of the simulated engine."""

from typing import Annotated

from pydantic import Field

from cluster.spec.model_parts.kv_cache_spec import DISK_BYTES_PER_S, HOST_BYTES_PER_S
from cluster.spec.parts.part import Part


class SimSpec(Part):
    """Timing and memory of the simulated engine.

    Attributes:
        prefill_tokens_per_s: prompt tokens prefilled a second.
        inter_token_s: seconds of a decode step with one sequence.
        inter_token_per_seq_s: seconds that each further sequence adds to a decode step.
        max_num_seqs: sequences decoded at once; more wait.
        kv_blocks: KV-cache capacity, blocks.
        block_tokens: tokens in one KV block.
        prefix_caching: whether blocks stay cached for later prompts with the same prefix.
        chars_per_token: prompt characters counted as one token.
        answer_tokens: mean tokens of a chat answer; each answer has between 0.5 and 1.5 times this number.
        image_tokens: prompt tokens that an image takes; 0: a text model, which refuses images. LLaVA 1.5's takes 576.
        reasoning_tokens: mean tokens of reasoning before a chat answer; 0: it does not reason.
        start_s: seconds the engine takes to start.
        kv_bytes_per_token: bytes of KV cache that a prompt token takes when it is handed to another engine, or kept
            beyond the device (`kv_cache.offload`). The default is that of Llama 3.1 8B in bf16: keys and values of 8
            heads of 128 in 32 layers, 2 bytes each.
        transfer_bytes_per_s: bytes of KV cache that an engine fetches a second from another; the default is 100 Gbit/s.
        offload_bytes_per_s: bytes of KV cache that come back a second from host memory.
        disk_bytes_per_s: bytes of KV cache that come back a second from files to host memory.
        adapter_load_s: seconds that loading a LoRA adapter takes, in which nothing is computed.
        transfer_lease_s: seconds that a computed prompt is kept for an engine that does not fetch it; vLLM's default.
        acceptance: with `speculative`, probability that a drafted token is right where those before it were. The
            default is about what n-grams reach where a text is copied.
        draft_share: with the methods `ngram` and `suffix`, share of a sequence's steps for which a draft is found.
        draft_token_s: seconds that each drafted token adds to a step.
    """

    prefill_tokens_per_s: Annotated[float, Field(gt=0)] = 20_000.0
    inter_token_s: Annotated[float, Field(ge=0)] = 0.01
    inter_token_per_seq_s: Annotated[float, Field(ge=0)] = 0.0002
    max_num_seqs: Annotated[int, Field(ge=1)] = 256
    kv_blocks: Annotated[int, Field(ge=1)] = 4096
    block_tokens: Annotated[int, Field(ge=1)] = 32
    prefix_caching: bool = True
    chars_per_token: Annotated[float, Field(ge=1)] = 4.0
    answer_tokens: Annotated[int, Field(ge=1)] = 128
    image_tokens: Annotated[int, Field(ge=0)] = 0
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    start_s: Annotated[float, Field(ge=0)] = 0.0
    kv_bytes_per_token: Annotated[int, Field(ge=1)] = 131_072
    transfer_bytes_per_s: Annotated[float, Field(gt=0)] = 12.5e9
    offload_bytes_per_s: Annotated[float, Field(gt=0)] = HOST_BYTES_PER_S
    disk_bytes_per_s: Annotated[float, Field(gt=0)] = DISK_BYTES_PER_S
    adapter_load_s: Annotated[float, Field(ge=0)] = 0.3
    transfer_lease_s: Annotated[float, Field(gt=0)] = 30.0
    acceptance: Annotated[float, Field(ge=0, le=1)] = 0.8
    draft_share: Annotated[float, Field(ge=0, le=1)] = 0.9
    draft_token_s: Annotated[float, Field(ge=0)] = 0.0002
