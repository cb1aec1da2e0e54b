"""Ray Serve LLM with its prefix-aware router, as a peer: runs under the peer's own Python, imports nothing of ours.

`python ray_serve_llm.py OPTIONS.json`, where the options are `port`, `model_id`, `model_source`, `replicas`,
`engine_kwargs`, `env`. Serves until SIGTERM.
"""

import json
import signal
import sys
import threading
from pathlib import Path

import ray
from ray import serve
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.engines.vllm.vllm_models import VLLMEngineConfig
from ray.serve.config import RequestRouterConfig
from ray.serve.llm import LLMConfig, build_openai_app

ROUTER = "ray.serve.llm.request_router:PrefixCacheAffinityRouter"


class SameExecutor(CallbackBase):  # type: ignore[misc]  # Ray Serve LLM is not in our environment
    """Gives a replica's engine the executor that everybody's have; runs in the replica before its engine starts.

    On the CPU Ray Serve LLM sets vLLM's `mp`, whatever `engine_kwargs` says: a worker process more for each engine,
    which says nothing of its router.
    """

    async def on_before_node_init(self) -> None:
        """Set `executor` where Ray Serve LLM has set its own."""
        original = VLLMEngineConfig.get_initialization_kwargs
        executor = self.kwargs["executor"]

        def with_executor(config: VLLMEngineConfig) -> dict[str, object]:
            return {**original(config), "distributed_executor_backend": executor}

        VLLMEngineConfig.get_initialization_kwargs = with_executor


def main() -> None:
    """Start Ray and the application; end both on SIGTERM."""
    options = json.loads(Path(sys.argv[1]).read_text())
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    ray.init(address="local", include_dashboard=False, num_cpus=16, object_store_memory=200 * 1024 * 1024)
    serve.start(http_options={"host": "127.0.0.1", "port": options["port"]})
    executor = options["engine_kwargs"].pop("distributed_executor_backend")
    config = LLMConfig(
        model_loading_config={"model_id": options["model_id"], "model_source": options["model_source"]},
        deployment_config={
            "num_replicas": options["replicas"],
            "max_ongoing_requests": 64,
            "request_router_config": RequestRouterConfig(request_router_class=ROUTER),
        },
        engine_kwargs=options["engine_kwargs"],
        accelerator_type=None,
        placement_group_config={"bundles": [{"CPU": 0.5}]},
        runtime_env={"env_vars": options["env"]},
        callback_config={"callback_class": SameExecutor, "callback_kwargs": {"executor": executor}},
    )
    serve.run(build_openai_app({"llm_configs": [config]}), name="peer", route_prefix="/")
    stopped.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
