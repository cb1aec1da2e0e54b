"""Sessions of streams and traces."""

from itertools import islice

from deployments.load.sessions.live_stream import LiveStream, live_streams
from deployments.load.sessions.session import Session
from deployments.load.sessions.session_source import recorded_sessions, sessions_of
from deployments.load.sessions.texts import Texts
from deployments.simulator.trace import TraceRequest
from deployments.twin.closed_loop import streams


def _sessions(text: str, seed: int = 0) -> list[Session]:
    (spec,) = live_streams([text])
    return list(sessions_of(spec, 0, seed, Texts(1.0, seed)))


def test_an_open_loop_sends_what_the_twin_simulates() -> None:
    """Times and lengths of both streams of a load are those of `rackserve simulate` with the same seed."""
    specs = live_streams(["rate=3,requests=50,prefixes=4", "rate=1,requests=20,shape=even"])
    sent = [each for number, spec in enumerate(specs) for each in sessions_of(spec, number, 7, Texts(1.0, 7))]
    simulated = sorted(streams(specs, 7), key=lambda each: each.at_s)
    sent.sort(key=lambda each: each.begins_s)
    assert [each.begins_s for each in sent] == [each.at_s for each in simulated]
    assert [each.calls[0].output_tokens for each in sent] == [each.output_tokens for each in simulated]
    assert [len(each.calls[0].text.split()) for each in sent] == [each.prompt_tokens for each in simulated]


def test_bursts_come_within_a_short_run() -> None:
    """With bursts every 10 s, the fullest of 200 seconds has far more requests than the mean; steady, it has not."""
    bursty = _sessions("rate=20,seconds=200,shape=bursts,burst_every_s=10,prompt_tokens=8")
    steady = _sessions("rate=20,seconds=200,prompt_tokens=8")

    def fullest(sessions: list[Session]) -> float:
        seconds = [0] * 201
        for session in sessions:
            seconds[int(session.begins_s)] += 1
        return max(seconds) / (len(sessions) / 200)

    assert fullest(bursty) > 2.5
    assert fullest(steady) < 2.3
    assert abs(len(bursty) / len(steady) - 1) < 0.3


def test_a_closed_loop_ends_with_its_requests_and_without_them_never() -> None:
    """`requests` bounds the sessions; else they go on as long as somebody asks."""
    assert len(_sessions("at_a_time=4,requests=25")) == 25
    endless = sessions_of(LiveStream(at_a_time=4), 0, 0, Texts(1.0, 0))
    assert len(list(islice(endless, 1000))) == 1000


def test_chats_follow_one_another_and_share_their_beginnings() -> None:
    """A chat has five turns in the mean, each after a pause but the first; eight system prompts are shared."""
    chats = _sessions("kind=chat,rate=10,seconds=200")
    turns = [len(chat.calls) for chat in chats]
    assert 4.0 < sum(turns) / len(turns) < 6.0
    assert abs(sum(turns) / 200 - 10) < 2.5
    assert 2 < len({chat.system for chat in chats}) <= 8
    assert all(not chat.calls[0].pause_s and all(call.pause_s > 0 for call in chat.calls[1:]) for chat in chats)


def test_streams_of_one_load_share_no_beginnings() -> None:
    """Two streams with the same keys have system prompts of their own, as they have in the twin."""
    specs = live_streams(["kind=chat,requests=20,at_a_time=1"] * 2)
    first, second = (
        {each.system for each in sessions_of(spec, number, 0, Texts(1.0, 0))} for number, spec in enumerate(specs)
    )
    assert not first & second


def test_agents_call_hundreds_of_times_and_have_agents_of_their_own() -> None:
    """Each of 30 agents has 100 to 500 calls; sub-agents have their instructions, and come in threes."""
    agents = _sessions("kind=agents,requests=9000")
    calls = [len(agent.calls) for agent in agents]
    assert min(calls) >= 100
    assert 250 < max(calls) <= 500
    helped = [call for agent in agents for call in agent.calls if call.helpers]
    assert 0.01 < len(helped) / sum(calls) < 0.04
    assert all(len(call.helpers) == 3 for call in helped)
    assert {helper.system for call in helped for helper in call.helpers} <= {agent.system for agent in agents}
    assert sum(agent.requests for agent in agents) == sum(calls) + 8 * 3 * len(helped)


def test_a_trace_shares_what_its_blocks_share() -> None:
    """Two requests with an equal first block begin alike for 512 words and no further; times follow the speed."""
    trace = [TraceRequest(0, 1300, 5, [1, 2, 3]), TraceRequest(4000, 1200, 7, [1, 9, 10])]
    first, second = recorded_sessions(trace, 2.0, 0, Texts(1.0, 0))
    words = [each.calls[0].text.split() for each in (first, second)]
    assert [len(each) for each in words] == [1300, 1200]
    assert words[0][:512] == words[1][:512]
    assert words[0][512:517] != words[1][512:517]
    assert (first.begins_s, second.begins_s) == (0.0, 2.0)
    assert (first.calls[0].output_tokens, second.calls[0].output_tokens) == (5, 7)
