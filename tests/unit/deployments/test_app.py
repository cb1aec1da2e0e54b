"""From a cluster file to what Serve is asked to run, before any cluster is there."""

from pathlib import Path
from typing import Any

import pytest

from cluster.errors import SpecError
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_spec import ModelSpec
from deployments import app
from deployments.autoscaling.serve_policy import QueueDepthPolicy
from deployments.launch.application import reason_in
from deployments.replica.read_spec import read_spec


def spec(**model: Any) -> ClusterSpec:  # noqa: ANN401 - spec values
    """Return a cluster of one sim model."""
    return cluster_file.from_data({"models": [{"name": "m", "engine": "sim", **model}]}, "test")


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        ({"models": [{"name": "m", "engine": "sim", "policy": "least-load"}]}, "models[0].policy", "least_load"),
        (
            {"models": [{"name": "m", "engine": "sim"}], "gateway": {"port": 7}, "cluster": {"serve_port": 7}},
            "cluster.serve_port",
            "7 is already",
        ),
        (
            {"models": [{"name": "m", "engine": "sim"}], "gateway": {"port": 7, "admin_port": 7}},
            "gateway.admin_port",
            "7 is already gateway.port",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_its_place(data: dict[str, Any], path: str, words: str) -> None:
    """Beyond what the file's form says: unknown policies and ports given twice, each told at its key."""
    with pytest.raises(SpecError) as caught:
        app.spec_from({"spec": data})
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize("args", [{}, {"file": "a", "spec": {}}, {"fiel": "a.yaml"}, {"file": "a", "x": 1}])
def test_builder_arguments_are_a_file_or_a_spec(args: dict[str, Any]) -> None:
    """Anything else is refused with what would be right."""
    with pytest.raises(SpecError, match="either file=PATH or spec="):
        app.spec_from(args)


def test_a_file_that_is_not_there_is_told_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A builder may run on another node, in another folder: the message says which."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=f"cannot be read from {tmp_path}: No such file"):
        read_spec(Path("missing.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not a text file"):
        read_spec(Path("binary.yaml"))


def test_folders_are_taken_from_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder beside the file works from wherever the builder runs; ids and built-in names stay as they are."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "smollm2-135m-instruct").mkdir()
    sources = ["weights", "./weights", "org/model", "smollm2-135m-instruct", str(tmp_path / "weights")]
    models = [f"  - {{name: m{n}, engine: vllm, source: {source!r}}}" for n, source in enumerate(sources)]
    file = tmp_path / "cluster.yaml"
    file.write_text("models:\n" + "\n".join(models))
    monkeypatch.chdir("/")
    weights = str(tmp_path / "weights")
    assert [model.source for model in read_spec(file).models] == [
        weights,
        weights,
        "org/model",
        "smollm2-135m-instruct",
        weights,
    ]


EXAMPLES = [
    Path(app.__file__).parent / "examples" / name for name in ("demo.yaml", "init.yaml", "pools.yaml", "racks.yaml")
]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_a_cluster_file_that_runs(file: Path) -> None:
    """What stands under deployments/examples is accepted as it is."""
    assert read_spec(file).models


def test_deployment_names_are_safe_and_different() -> None:
    """Model names may hold slashes and colons; deployments of different models never share a name."""
    models = ("m", "org/m", "org-m", "org:m", "gateway", "m-a", "m:a")
    names = [app.deployment_name(name) for name in models]
    assert names[0] == "m"
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").replace("_", "").replace(".", "").isalnum() for name in names)
    assert app.GATEWAY_DEPLOYMENT not in names
    pools = [app.deployment_name(name, pool) for name in models for pool in ("a", "b")]
    assert len({*names, *pools}) == len(names) + len(pools)
    for name in models:
        assert app.pools_in([app.GATEWAY_DEPLOYMENT, *names], name) == [""]
        assert app.pools_in([app.GATEWAY_DEPLOYMENT, *pools], name) == ["a", "b"]


def test_only_what_an_engine_sees_restarts_replicas() -> None:
    """Policy, timeouts and counts change without a restart; anything the engine is built from does not."""

    def versions(cluster: ClusterSpec) -> tuple[str, str]:
        gateway = app.compose(cluster)._bound_deployment
        (model,) = gateway.init_args[1:]
        return str(gateway.version), str(model._bound_deployment.version)

    base = versions(spec())
    assert versions(spec(policy="round_robin", request_timeout_s=5.0, replicas=4)) == base
    scaled = spec(replicas={"min": 0, "max": 9}, autoscaling={"target_queue_seconds": 3}, drain_timeout_s=7)
    assert versions(scaled) == base
    assert versions(spec(slo={"ttft_s": 1.0, "tpot_s": 0.05, "share": 0.9})) == base
    assert versions(spec(planned={"decode_tokens_per_s": 100})) == base
    assert versions(spec(sim={"kv_blocks": 7}))[1] != base[1]
    assert versions(spec(env={"A": "1"}))[1] != base[1]
    assert versions(spec(sim={"kv_blocks": 7}))[0] == base[0]


def test_a_range_of_replicas_is_scaled_by_our_policy() -> None:
    """Serve gets the bounds and our policy with the file's targets, and adds no delay; one number needs no policy."""

    def config(cluster: ClusterSpec) -> Any:  # noqa: ANN401 - Ray's
        (model,) = app.compose(cluster)._bound_deployment.init_args[1:]
        return model._bound_deployment._deployment_config.autoscaling_config

    found = config(spec(replicas={"min": 0, "max": 9}, autoscaling={"target_queue_seconds": 3}, max_wait_s=20))
    assert (found.min_replicas, found.max_replicas, found.initial_replicas) == (0, 9, None)
    assert (found.upscale_delay_s, found.downscale_delay_s) == (0.0, 0.0)
    policy = found.policy.get_policy()(**found.policy.policy_kwargs)
    assert isinstance(policy, QueueDepthPolicy)
    (pool,) = policy.following.pools
    targets = pool.targets
    assert (targets.min_replicas, targets.max_replicas) == (0, 9)
    assert (targets.target_queue_s, targets.longest_wait_s) == (3.0, 20.0)
    assert config(spec(replicas=3)) is None


POOLS = [{"name": "fast", "replicas": {"min": 1, "max": 4}}, {"name": "slow", "sim": {"inter_token_s": 1.0}}]


def applications(cluster: ClusterSpec) -> dict[str, Any]:
    """Return the models' bound deployments, by name."""
    found = [each._bound_deployment for each in app.compose(cluster)._bound_deployment.init_args[1:]]
    return {each.name: each for each in found}


def test_each_pool_is_a_deployment_of_its_own() -> None:
    """What one pool changes restarts its own replicas only; each runs the model as the pool says."""
    found = applications(spec(pools=POOLS, replicas=2))
    assert list(found) == ["m:fast", "m:slow"]
    started = {name: each.init_args[0] for name, each in found.items()}
    assert [(model.pool, model.sim.inter_token_s) for model in started.values()] == [("fast", 0.01), ("slow", 1.0)]
    assert found["m:slow"].num_replicas == 2
    changed = applications(spec(pools=[POOLS[0], {"name": "slow", "sim": {"inter_token_s": 2.0}}], replicas=2))
    assert changed["m:fast"].version == found["m:fast"].version
    assert changed["m:slow"].version != found["m:slow"].version
    roles = applications(spec(pools=[{"name": "fast", "role": "prefill"}, {"name": "slow", "role": "decode"}]))
    assert roles["m:fast"].version != found["m:fast"].version
    beside = applications(spec(pools=[{"name": "p", "role": "prefill"}, POOLS[1]], replicas=2))
    assert beside["m:slow"].init_args[1] == KvDuties(receives=True)
    assert beside["m:slow"].version != found["m:slow"].version  # its engine must fetch now
    assert found["m:slow"].init_args[1] == NO_DUTIES


def test_the_policy_of_a_pool_knows_all_pools() -> None:
    """The load is divided among them; replicas of the fixed pool send their figures too."""
    found = applications(spec(pools=POOLS, replicas=2))
    config = found["m:fast"]._deployment_config.autoscaling_config
    policy = config.policy.get_policy()(**config.policy.policy_kwargs)
    assert isinstance(policy, QueueDepthPolicy)
    following = policy.following
    assert (following.model, following.pool) == ("m", "fast")
    bounds = [(pool.name, pool.targets.min_replicas, pool.targets.max_replicas) for pool in following.pools]
    assert bounds == [("fast", 1, 4), ("slow", 2, 2)]
    assert found["m:slow"]._deployment_config.autoscaling_config is None
    assert found["m:slow"]._deployment_config.user_config["is_autoscaled"]


def test_gpus_of_a_replica() -> None:
    """None for the simulator; as many as the spec says; none of its own where its gang has one for each rank."""
    assert app.gpus_of(ModelSpec(name="m", engine="sim")) == 0.0
    asked = ModelSpec.model_validate({"name": "m", "source": "x", "gpus_per_replica": 0.5})
    assert app.gpus_of(asked) == 0.5
    cut = {"tensor": 2, "pipeline": 3}
    assert app.gpus_of(ModelSpec.model_validate({"name": "m", "source": "x", "parallel": cut})) == 0.0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", ""),
        ("plain words\nmore", "plain words"),
        (
            (
                "The deployment failed to start 3 times.\nTraceback (most recent call last):\n  File x\n"
                "cluster.errors.ModelSourceError: source './x': no such folder\n\nThe above exception was …\n"
                "ray.exceptions.RayTaskError: something else"
            ),
            "source './x': no such folder",
        ),
        ("Traceback:\nValueError: bad value\n", "ValueError: bad value"),
    ],
)
def test_the_reason_is_found_in_serves_messages(message: str, reason: str) -> None:
    """Of a stack of tracebacks, people see the one line that says what is wrong."""
    assert reason_in(message) == reason


def test_a_deployments_version_is_its_own() -> None:
    """Serve gives all deployments of a config file one version; ours keep theirs, also through Serve's copies."""
    gateway = app.compose(spec())._bound_deployment
    (model,) = gateway.init_args[1:]
    for deployment in (gateway, model._bound_deployment):
        config = deployment.options(num_replicas=3)._deployment_config
        config.version = "one for all"
        assert (config.version, config.num_replicas) == (deployment.version, 3)
        assert type(config).from_proto_bytes(config.to_proto_bytes()).version == deployment.version


def test_gateways_keep_to_their_nodes() -> None:
    """`node_labels` reach Serve, and `per_node` as a share of what each node has one of, for each version anew.

    So an update's new process finds room beside the old one, yet no node gets two where another has none.
    """
    assert gateways()._replica_config.ray_actor_options.keys().isdisjoint({"label_selector", "resources"})
    kept = gateways(node_labels={"role": "gateway"}, per_node=3)
    assert kept.ray_actor_options["label_selector"] == {"role": "gateway"}
    ((slot, share),) = kept.ray_actor_options["resources"].items()
    assert 3 * share <= 1 < 4 * share
    changed = gateways(node_labels={"role": "gateway"}, per_node=3, idle_timeout_s=5)
    assert changed.ray_actor_options["resources"].keys() != {slot}


def test_gateways_follow_the_nodes_where_asked() -> None:
    """`replicas: every_node` hands their number to our policy; `per_node` unset means one.

    A number in its place restarts nothing.
    """
    fixed, following = gateways(per_node=1), gateways(per_node=1, replicas="every_node")
    assert fixed._deployment_config.autoscaling_config is None
    config = following._deployment_config.autoscaling_config
    assert config.policy.policy_kwargs == {"labels": {}, "per_node": 1}
    assert (config.min_replicas, config.max_replicas >= 1024) == (1, True)
    assert config.policy.get_policy().__name__ == "EveryNodePolicy"
    assert following.version == fixed.version
    assert gateways(replicas="every_node").ray_actor_options["resources"]


def gateways(**gateway: object) -> Any:  # noqa: ANN401 - Serve's, untyped
    """Return Serve's deployment of gateways."""
    asked = spec().model_copy(update={"gateway": GatewaySpec.model_validate(gateway)})
    return app.compose(asked)._bound_deployment


def test_a_gangs_own_process_is_started_among_gpus_of_its_kind() -> None:
    """Where such nodes have CPUs; else on any other. Any kind will do: not on the head. No gang: anywhere."""

    def wished(**model: object) -> tuple[object, object]:
        (bound,) = app.compose(spec(**model))._bound_deployment.init_args[1:]
        asked = bound._bound_deployment.ray_actor_options
        return asked.get("label_selector"), asked.get("fallback_strategy")

    key = "ray.io/accelerator-type"
    there, elsewhere = {key: "GB300"}, [{"label_selector": {key: "!GB300"}}]
    assert wished(parallel={"tensor": 8}, accelerator="GB300") == (there, elsewhere)
    group = "ray.io/node-group"
    assert wished(parallel={"tensor": 8}) == (
        {group: "!in(head,headgroup)"},
        [{"label_selector": {group: "in(head,headgroup)"}}],
    )
    assert wished(accelerator="GB300") == (None, None)
