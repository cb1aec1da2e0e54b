"""Asks a cluster's head whether it can be joined from here: `ray.init` would wait for up to a minute where it cannot.

Chooses Ray's token too, by what the head asks for: see `authentication.py`.
"""

from typing import Any, Final

import grpc
import ray
from ray._private import services
from ray._raylet import NodeID
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest, GetAllNodeInfoRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from cluster.errors import ClusterError, ClusterUnreachableError
from deployments.ray_api.joining.authentication import PLACES, tokens, use_token

ANSWER_S: Final = 2.5
"""Seconds within which a head answers."""


def ask_head(address: str) -> str:
    """Return `host:port` of the head of a cluster that can be joined from here.

    Sets Ray's authentication in this process to what the cluster wants: the token that it accepts, or none.

    Args:
        address: `host:port` of the head, or `auto` for the cluster on this machine.

    Raises:
        ClusterUnreachableError: nothing answers there, it is not the head of a Ray cluster, it refuses the token, or no
            node of that cluster is on this machine.
        ClusterError: the cluster runs another version of Ray.
    """
    found = _host_and_port(address)
    with grpc.insecure_channel(found, options=[("grpc.enable_http_proxy", 0)]) as channel:
        head = NodeInfoGcsServiceStub(channel)
        try:
            token, version = _let_in(head, address)
            if version not in {"", ray.__version__}:
                raise ClusterError(f"the Ray cluster at {address} runs Ray {version}, and here is {ray.__version__}")
            if not _has_node_here(head, _header(token)):
                raise ClusterUnreachableError(
                    f"no node of the Ray cluster at {address} is on this machine; run this on one of its machines, or "
                    "ask a gateway by --url where the command has it"
                )
        except grpc.RpcError as error:
            raise ClusterUnreachableError(f"no Ray cluster at {address}: {_why(error)}") from error
    use_token(token)
    return found


def _host_and_port(address: str) -> str:
    if "://" in address:
        raise ClusterUnreachableError(
            f"no Ray cluster at {address}: give HOST:PORT of its head (Ray's own port, 6379 by default), not a URL"
        )
    try:
        found = services.canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError, OSError) as error:
        hint = "no Ray runs on this machine" if address == "auto" else "give HOST:PORT of its head"
        raise ClusterUnreachableError(f"no Ray cluster at {address}: {hint}") from error
    return str(found)


def _version(head: Any, token: list[tuple[str, str]]) -> str:  # noqa: ANN401 - Ray's generated stub
    return str(head.CheckAlive(CheckAliveRequest(), timeout=ANSWER_S, metadata=token).ray_version)


def _has_node_here(head: Any, token: list[tuple[str, str]]) -> bool:  # noqa: ANN401 - Ray's generated stub
    """Return whether a node of the cluster is on this machine, without which a process cannot join."""
    here = [NodeID.from_hex(node) for node in services.find_node_ids()]
    if not here:
        return False
    selectors = [GetAllNodeInfoRequest.NodeSelector(node_id=node.binary()) for node in here]
    answer = head.GetAllNodeInfo(GetAllNodeInfoRequest(node_selectors=selectors), timeout=ANSWER_S, metadata=token)
    return any(node.state == node.ALIVE for node in answer.node_info_list)


def _let_in(head: Any, address: str) -> tuple[str, str]:  # noqa: ANN401 - Ray's generated stub
    """Return the token with which the head answers, "" if it asks for none, and its version of Ray.

    Raises:
        ClusterUnreachableError: it asks for a token, and there is none here.
        grpc.RpcError: it does not answer, or refuses each token.
    """
    refused: grpc.RpcError | None = None
    for token in ("", *tokens()):
        try:
            return token, _version(head, _header(token))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            if token:
                refused = error
    if refused is not None:
        raise refused
    raise ClusterUnreachableError(f"the Ray cluster at {address} wants a token, and there is none: give it in {PLACES}")


def _header(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")] if token else []


def _why(error: grpc.RpcError) -> str:
    code = error.code()
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return f"it refuses the token in {PLACES}"
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {ANSWER_S:g} s"
    details = str(error.details() or "").rpartition(": ")[2]
    if code == grpc.StatusCode.UNAVAILABLE:
        return details or "nothing listens there"
    return f"what answers there is not the head of a Ray cluster ({details})"
