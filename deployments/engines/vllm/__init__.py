"""The vLLM engine; only this folder imports vllm."""
