"""The mean of the request path is the cluster's own, changed in place."""

from hypothesis import given
from hypothesis import strategies as st

from cluster.autoscaling.ewma import Ewma
from router.estimator.learning.fading_mean import FadingMean

VALUE = st.floats(0.0, 1e6)


@given(observed=st.lists(st.tuples(VALUE, VALUE, st.floats(0.0, 1.0)), max_size=20))
def test_it_is_the_same_mean(observed: list[tuple[float, float, float]]) -> None:
    """After any observations total, weight and mean are those of an `Ewma`."""
    expected, mean = Ewma(2.0, 1.0), FadingMean(2.0, 1.0)
    for total, weight, keep in observed:
        expected = expected.observed(total, weight, keep)
        mean.observe(total, weight, keep)
    assert (mean.total, mean.weight, mean.mean) == (expected.total, expected.weight, expected.mean)
