"""A cluster of sim engines on real Ray: requests, several models, several gateways, and who is kept out."""

import grpc
import httpx
import pytest
from openai import OpenAI

import deployments.ray_api as ray_api
from deployments import app
from deployments.launch.application import why_failed
from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry import telemetry_pb2_grpc as pb_grpc
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for

NOTHING = ray_api.ApplicationState("", "", {})


def test_every_model_of_the_file_answers(shared_application: RunningApplication) -> None:
    """Several models share one endpoint; the OpenAI SDK finds and asks each."""
    with OpenAI(base_url=f"{shared_application.url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["beta", "org/alpha"]
        for model in ("org/alpha", "beta"):
            answer = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=5
            )
            assert answer.model == model
            assert answer.choices[0].message.content
            assert answer.usage is not None
            assert answer.usage.completion_tokens == 5
    assert shared_application.chat("gamma").json()["error"]["code"] == "model_not_found"


def test_both_replicas_of_a_model_are_used(shared_application: RunningApplication) -> None:
    """Requests reach every replica the directory knows, and only those."""
    known = {endpoint.replica_id for endpoint in shared_application.replicas("org/alpha")}
    answered = {shared_application.chat("org/alpha").headers["x-rackserve-replica"] for _ in range(30)}
    assert len(known) == 2
    assert answered == known


def test_the_gateway_knows_the_replicas_load(shared_application: RunningApplication) -> None:
    """Telemetry reaches the gateway, and acknowledges exactly the requests this gateway sent."""
    for _ in range(3):
        assert shared_application.chat("beta").is_success

    def acknowledged() -> bool:
        (row,) = shared_application.state()["models"]["beta"]["replicas"]
        return row["report"] is not None and row["report"]["accepted"] == row["sent"] >= 3

    wait_for("the replica acknowledges every request", acknowledged, timeout_s=3.0)


def test_a_replica_answers_nobody_but_gateways(shared_application: RunningApplication) -> None:
    """Without the cluster's credential every path of a replica's port is 401, `/health` too."""
    (replica,) = shared_application.replicas("beta")
    url = f"http://{replica.host}:{replica.http_port}"
    body = {"model": "beta", "messages": [{"role": "user", "content": "hi"}]}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eA=="}):
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"
        assert httpx.get(f"{url}/health", headers=headers).status_code == 401
    credential = ray_api.shared_secret(shared_application.name)
    with_it = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {credential}"})
    assert with_it.status_code == 200


def test_a_clients_authorization_does_not_open_a_replica(shared_application: RunningApplication) -> None:
    """What a client puts in `authorization` is the gateway's business and never reaches a replica as its credential."""
    body = {"model": "beta", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    url = f"{shared_application.url}/v1/chat/completions"
    assert httpx.post(url, json=body, headers={"authorization": "Bearer wrong"}).status_code == 200


def test_telemetry_needs_the_credential(shared_application: RunningApplication) -> None:
    """A watcher without the credential, or with a wrong one, is refused; with it, it hears at once."""
    (replica,) = shared_application.replicas("beta")
    credential = ray_api.shared_secret(shared_application.name)
    with grpc.insecure_channel(f"{replica.host}:{replica.telemetry_port}") as channel:
        stub = pb_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call] # generated
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.RpcError) as caught:
                next(stub.Watch(pb.WatchRequest(gateway_id="g"), metadata=metadata, timeout=5))
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        stream = stub.Watch(pb.WatchRequest(gateway_id="g"), metadata=(("authorization", f"Bearer {credential}"),))
        hello, load = next(stream), next(stream)
        stream.cancel()
    assert (hello.sequence, hello.hello.replica_id, hello.hello.model) == (1, replica.replica_id, "beta")
    assert (load.sequence, load.load.accepted) == (2, 0)
    assert load.load.kv_capacity_tokens > 0


def test_two_applications_cannot_share_a_port(shared_application: RunningApplication) -> None:
    """A second cluster with the same apps' port does not come up, and says why: its requests would be mixed up."""
    port = shared_application.spec.gateway.port
    second = RunningApplication(sim_spec({"name": "x"}, name="second", port=port))
    ray_api.deploy(app.compose(second.spec), second.name)
    try:
        wait_for("the failure", lambda: (ray_api.application_state("second") or NOTHING).status == "DEPLOY_FAILED")
        state = ray_api.application_state("second")
        assert state is not None
        owner = shared_application.name
        assert why_failed(state) == f"gateway: gateway.port: port {port} is that of {owner} on this node"
    finally:
        second.delete()


def test_serves_own_http_tells_where_the_gateway_is(shared_application: RunningApplication) -> None:
    """The port named `serve` answers health checks and says where apps connect, and nothing of models or use."""
    port = ray_api.serve_http_port()
    assert httpx.get(f"http://127.0.0.1:{port}/-/healthz").status_code == 200
    state = httpx.get(f"http://127.0.0.1:{port}/{shared_application.name}").json()
    assert state == {"port": shared_application.gateway().port}
