"""What a `quantization_config` says of a checkpoint's weights, matrix by matrix, as vLLM 0.32 reads it."""
