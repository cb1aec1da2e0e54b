"""Whether a plain server is alive, step by step, without any server."""

import pytest

from deployments.standalone.server import KEEP_S, LOST_S, Server
from deployments.standalone.server_address import ServerAddress
from router.replicas.endpoint import Presence
from router.replicas.model_card import ModelCard


def well(*models: str) -> Server:
    """Return a server that has just answered, at 0 s."""
    server = Server(ServerAddress("10.0.0.1", 8000), {name: ModelCard() for name in models}, has_answered=True)
    server.lives(0.0)
    return server


def test_one_failed_poll_changes_nothing() -> None:
    """A single miss, of either kind, may be chance."""
    for is_refused in (False, True):
        server = well("m")
        server.missed(1.0, is_refused=is_refused)
        assert server.presence is Presence.HERE


def test_two_refused_connections_take_it_out() -> None:
    """Its process has ended."""
    server = well("m")
    server.missed(1.0, is_refused=True)
    server.missed(1.5, is_refused=True)
    assert server.presence is Presence.AWAY


@pytest.mark.parametrize("refused", [(False, False), (True, False), (False, True)])
def test_two_slow_polls_make_it_the_last_choice(refused: tuple[bool, bool]) -> None:
    """It may be busy: it is out only after a long time without any sign of life."""
    server = well("m")
    for number, is_refused in enumerate(refused):
        server.missed(1.0 + number, is_refused=is_refused)
    seen = [server.presence]
    for now_s in (LOST_S, LOST_S + 0.1):
        server.missed(now_s, is_refused=False)
        seen.append(server.presence)
    assert seen == [Presence.SILENT, Presence.SILENT, Presence.AWAY]


def test_a_sign_of_life_starts_the_count_anew() -> None:
    """Misses are counted in a row."""
    server = well("m")
    server.missed(1.0, is_refused=True)
    server.lives(2.0)
    server.missed(3.0, is_refused=True)
    assert server.presence is Presence.HERE
    server.missed(3.5, is_refused=True)
    server.lives(4.0)
    assert server.presence is Presence.HERE


def test_one_that_never_answered_is_away() -> None:
    """Nobody knows its models, so it has no rows."""
    server = Server(ServerAddress("10.0.0.1", 8000))
    server.missed(1.0, is_refused=False)
    server.lives(2.0)
    assert server.presence is Presence.AWAY
    assert server.endpoints(2.0) == []


def test_all_its_models_have_one_replica_id() -> None:
    """`host:port`, whatever else it announces; its cache is divided by their number."""
    server = well("a", "b")
    server.kv_tokens = 1000
    rows = server.endpoints(1.0)
    assert [(row.replica_id, row.model, row.kv_tokens) for row in rows] == [
        ("10.0.0.1:8000", "a", 500),
        ("10.0.0.1:8000", "b", 500),
    ]


def test_what_is_known_of_one_that_is_away_is_kept_for_minutes() -> None:
    """Its rows stay, as away, and end after `KEEP_S`."""
    server = well("m")
    server.missed(1.0, is_refused=True)
    server.missed(1.5, is_refused=True)
    assert [row.presence for row in server.endpoints(KEEP_S)] == [Presence.AWAY]
    assert server.endpoints(KEEP_S + 0.1) == []
    server.lives(KEEP_S + 1.0)
    assert [row.presence for row in server.endpoints(KEEP_S + 1.0)] == [Presence.HERE]
