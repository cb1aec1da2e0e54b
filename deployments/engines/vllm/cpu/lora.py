"""LoRA on CPUs: vLLM 0.32's kernels, without the way in which they end the engine."""

from typing import Any

from torch import Tensor
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU


class WholePromptPunica(PunicaWrapperCPU):
    """vLLM's CPU wrapper, which also stands logits of whole prompts.

    For a request's `prompt_logprobs` vLLM computes the logits of all its prompt's tokens, but the wrapper knows the
    adapters of the tokens that are sampled from alone. It would end the engine's process with a shape error, for all
    requests, also where none uses an adapter.
    """

    def add_lora_logits(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: Tensor,
        lora_b_stacked: Tensor,
        scale: float,
        **kwargs: Any,  # noqa: ANN401 - as in the base class
    ) -> None:
        """Add what adapters do to the output layer; nothing to logits of a prompt.

        So the prompt's log-probabilities of an adapter that adapts the output layer, which few do, lack that part.
        """
        rows = x.view(-1, x.shape[-1]).size(0)
        if self.sampler_indices.size(0) == rows:
            super().add_lora_logits(y, x, lora_a_stacked, lora_b_stacked, scale, **kwargs)
