"""Counts of models: those of names that came and went are not kept."""

from router.dispatch.ticket import Fault
from router.estimator.expectation import Usage
from router.http.metrics.meters import Meters
from router.outcome import Outcome


def test_names_that_come_and_go_leave_nothing_behind() -> None:
    """After any number of models, the counts are those of the models that are served."""
    meters = Meters()
    meters.serve("stays")
    for number in range(100):
        name = f"adapter-{number}"
        meters.serve(name)
        meters.ended(name, "t", Outcome.OK)
        meters.used(name, "t", Usage(1, 0, 1))
        meters.forget(name)
        meters.ended(name, "t", Outcome.OK)
        meters.used(name, "t", Usage(1, 0, 1))
        meters.model(name).retries[Fault.FAILED] += 1
    assert set(meters.models) == {"stays"}
    assert {model for model, _, _ in meters.outcomes} == {""}
    assert meters.outcomes["", "t", Outcome.OK] == 100
    assert set(meters.tokens) == {("", "t")}
    samples = [sample for family in meters.collect() for sample in family.samples]
    assert {sample.labels.get("model", "") for sample in samples} == {"", "stays"}


def test_a_model_served_again_starts_at_zero() -> None:
    """Prometheus takes that for a restart of the counter."""
    meters = Meters()
    meters.serve("m")
    meters.ended("m", "t", Outcome.OK)
    meters.forget("m")
    meters.serve("m")
    assert meters.outcomes == {}
    meters.ended("m", "t", Outcome.OK)
    assert meters.outcomes["m", "t", Outcome.OK] == 1
