"""What the fleet owes replicas that come and go."""

from random import Random

from router.dispatch.fleet import Fleet
from router.replicas.endpoint import Endpoint
from router.request import RoutingRequest
from router.scheduling.registry import policy_named


def test_a_failure_of_a_former_life_does_not_touch_the_new_one() -> None:
    """A request that fails after its replica left and came back under its id blames nobody who is there now."""
    fleet = Fleet(Random(0))
    fleet.set_models({"m": policy_named("least_load")})
    endpoint = Endpoint("r0", "m", "127.0.0.1", 1)
    fleet.apply_view([endpoint])
    decision = fleet.route(RoutingRequest("id", "m", "/v1/completions", stream=False, body=b"{}"))
    assert decision is not None
    fleet.apply_view([])
    fleet.apply_view([endpoint])
    fleet.release(decision.replica)
    fleet.failed(decision.replica, 1.0)
    fleet.check_integrity()
    assert fleet.by_id["r0"].accepting
