"""The benchmark of `rackserve bench`, in its short form."""

import json
from pathlib import Path

import pytest

from deployments.load.sessions.live_stream import live_streams
from deployments.load.sessions.session_source import sessions_of
from deployments.load.sessions.texts import Texts
from tests.benchmarks.load.aiperf_peer import PeerLoad
from tests.benchmarks.load.bench_load import LOADS, Compared, bars_of, compared, endpoint
from tests.benchmarks.load.figures import Figures
from tests.clients.environments import ClientMissingError, python_of


def test_the_peer_is_given_our_requests(tmp_path: Path) -> None:
    """Text, length and, where the load has times, the time of each request, in order."""
    load = LOADS["poisson"].format(count=20)
    (spec,) = live_streams([load])
    sent = list(sessions_of(spec, 0, 3, Texts(1.0, 3)))
    PeerLoad(sent, 0).write(tmp_path / "requests.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert [line["text_input"] for line in lines] == [session.calls[0].text for session in sent]
    assert [line["output_length"] for line in lines] == [session.calls[0].output_tokens for session in sent]
    assert [line["timestamp"] for line in lines] == [session.begins_s * 1e3 for session in sent]


def test_the_peer_is_given_our_conversations(tmp_path: Path) -> None:
    """Every turn's text and length in order, and the pause before each but the first, in milliseconds."""
    (spec,) = live_streams([LOADS["chats"].format(count=40)])
    sent = list(sessions_of(spec, 0, 3, Texts(1.0, 3)))
    PeerLoad(sent, spec.at_a_time).write(tmp_path / "requests.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert [len(line["turns"]) for line in lines] == [len(session.calls) for session in sent]
    turns = [turn for line in lines for turn in line["turns"]]
    calls = [call for session in sent for call in session.calls]
    assert [turn["text"] for turn in turns] == [call.text for call in calls]
    assert [turn.get("delay", 0.0) for turn in turns] == [call.pause_s * 1e3 for call in calls]


def test_a_figure_that_is_off_is_a_bar_that_is_short() -> None:
    """Four per cent more to the first token than the peer's in both rounds, and one request missing: two short bars."""
    peer = Figures(10, 0.2, 0.03, 1.0, 5.0, 100.0)
    ours = Figures(10, 0.208, 0.03, 1.0, 5.0, 100.0)
    fewer = Figures(9, 0.2, 0.03, 1.0, 5.0, 100.0)
    found = Compared(10, [ours, ours], [peer, fewer], [{"cpu_share": 0.02}] * 2)
    short = [bar.name for bar in bars_of({"poisson": found}) if not bar.holds]
    assert short == ["load_poisson_ttft_s_off_aiperf", "load_poisson_requests_missing"]


@pytest.mark.long
def test_both_answer_everything(tmp_path: Path) -> None:
    """One short round by both: every request is answered, and a request takes the same time within a fifth."""
    try:
        python_of("aiperf")
    except ClientMissingError as error:
        pytest.skip(f"aiperf cannot be installed here: {error}")
    with endpoint(tmp_path) as (url, _):
        found = compared(url, LOADS["poisson"].format(count=24), 1, tmp_path)
    (ours,), (peer,) = found.ours, found.peers
    assert ours.requests == peer.requests == 24
    assert 0.8 < ours.over(peer)["latency_s"] < 1.25
