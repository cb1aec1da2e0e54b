"""The platform plugin for vLLM's CPU build: machines without a GPU run gangs in the same way as machines with GPUs.

vLLM calls `cpu_platform` in every process, Ray's workers included (entry point `vllm.platform_plugins`), while it
detects its platform, so nothing of vLLM may be imported here.
"""

from deployments.engines.vllm.env import is_cpu_build


def cpu_platform() -> str | None:
    """Return the name of the platform's class; None: this vLLM is built for GPUs and detects its platform itself."""
    return "deployments.engines.vllm.cpu.platform.LogicalGpuPlatform" if is_cpu_build() else None
