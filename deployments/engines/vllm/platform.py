"""vLLM's platform plugin: with vLLM's CPU build, machines without a GPU run gangs just as machines with GPUs do.

vLLM calls `cpu_platform` in every process, Ray's workers among them (entry point `vllm.platform_plugins`), while it
still finds out what it runs on: nothing of vLLM may be imported here.
"""

from deployments.engines.vllm.env import is_cpu_build


def cpu_platform() -> str | None:
    """Return where the platform's class is; None: this vLLM is built for GPUs and knows its platform itself."""
    return "deployments.engines.vllm.cpu_platform.LogicalGpuPlatform" if is_cpu_build() else None
