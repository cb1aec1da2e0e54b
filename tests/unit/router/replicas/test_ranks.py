"""Replicas divided into their data-parallel ranks, and what of a request's head tells of one."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from router.http.data_plane.replica_route import ReplicaRoute
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.upstream.upstream import UpstreamPool
from router.replicas.access import Access
from router.replicas.endpoint import Endpoint
from router.replicas.ranks import divided

ROWS = st.lists(
    st.builds(Endpoint, st.text("ab.01", min_size=1), st.just("m"), st.just("h"), st.just(80), ranks=st.integers(1, 4)),
    unique_by=lambda endpoint: endpoint.replica_id,
)


@given(ROWS)
def test_each_rank_has_a_row(endpoints: list[Endpoint]) -> None:
    """Ranks are numbered from 0 and know their replica; a replica with one rank keeps its row."""
    rows = divided(endpoints)
    assert len(rows) == sum(endpoint.ranks for endpoint in endpoints)
    for endpoint in endpoints:
        own = [row for row in rows if row.whole_id == endpoint.replica_id and row.ranks == endpoint.ranks]
        if endpoint.ranks == 1:
            assert endpoint in own
        else:
            assert [row.rank for row in own] == list(range(endpoint.ranks))
            assert all(replace(row, replica_id=endpoint.replica_id, rank=None) == endpoint for row in own)


def _head(endpoint: Endpoint, forward_headers: tuple[str, ...] = ()) -> list[bytes]:
    """Return the lines of a request's head, whose client names a rank by itself."""
    route = ReplicaRoute.to(
        UpstreamPool(endpoint, 1.0, 0.25), gateway_id="g", credential="c", forward_headers=forward_headers
    )
    request = IncomingRequest(b"POST", b"/v1/x", b"/v1/x", b"", {b"x-data-parallel-rank": b"7"}, b"", True, False)  # noqa: FBT003
    head = request.upstream_head(route.path_prefix, route.head_end, route.forwarded, b"id", 0)
    named = [b"x-data-parallel-rank: %d" % endpoint.rank] if endpoint.rank is not None else []
    assert [line for line in route.own_head_end.split(b"\r\n") if line.startswith(b"x-data")] == named
    return [line for line in head.split(b"\r\n") if line.startswith(b"x-data")]


def test_the_gateway_alone_names_a_rank() -> None:
    """A request to a rank names it; what the client named never arrives, not even where that header is passed on."""
    whole = Endpoint("r", "m", "h", 80, ranks=2)
    for rank, row in enumerate(divided([whole])):
        for forward in ((), ("x-data-parallel-rank",)):
            assert _head(row, forward) == [b"x-data-parallel-rank: %d" % rank]


def test_a_server_that_is_not_divided_hears_what_its_client_says() -> None:
    """Only where `gateway.forward_headers` says so, as for any header: it may have ranks that it does not tell."""
    for access in (Access(), Access(passes_authorization=True)):
        plain = Endpoint("r", "m", "h", 80, access=access)
        assert _head(plain) == []
        assert _head(plain, ("x-data-parallel-rank",)) == [b"x-data-parallel-rank: 7"]
