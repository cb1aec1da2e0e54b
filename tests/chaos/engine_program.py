"""A program: one simulated engine on loopback, as any server that a gateway without Ray may stand before.

`python -m tests.chaos.engine_program PORT` serves the model `m` as vLLM would.
"""

import sys

import uvicorn
import uvloop

from cluster.spec.model_spec import ModelSpec
from deployments.engines.sim.engine import SimEngine

MODEL = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "sim",
        "sim": {
            "prefill_tokens_per_s": 4000.0,
            "inter_token_s": 0.04,
            "inter_token_per_seq_s": 0.0005,
            "kv_blocks": 600,
            "max_num_seqs": 48,
        },
    }
)


async def _serve(port: int) -> None:
    engine = SimEngine(MODEL)
    await engine.start()
    config = uvicorn.Config(
        engine.app, host="127.0.0.1", port=port, lifespan="off", access_log=False, log_level="warning"
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
