"""What a run measures of a server whose times, tokens and failures are planted."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from deployments.load.client.calibration import prompt_scale
from deployments.load.client.connection import Address, ConnectionPool
from deployments.load.client.endpoint import COMPLETIONS, LoadEndpoint
from deployments.load.client.run import LoadRun, RunSeen, StreamOfSessions
from deployments.load.figures.measures import SloLimits, Spread, figures_of
from deployments.load.sessions.session import Call, Session
from tests.integration.gateway.certificates import CertificateAuthority
from tests.integration.load.streaming_server import PlantedAnswer, StreamingServer
from tests.machine_speed import slowness


def singles(count: int, tokens: int = 5, every_s: float = 0.0) -> list[Session]:
    """Return single requests."""
    return [Session((Call("a question", tokens),), begins_s=number * every_s) for number in range(count)]


async def run(
    server: StreamingServer, sessions: Iterable[Session], at_a_time: int = 0, warm_up: int = 0, timeout_s: float = 60.0
) -> RunSeen:
    """Send sessions to a server."""
    pool = ConnectionPool(Address.of(server.url, "the-key"))
    endpoint = LoadEndpoint(pool, "planted", timeout_s=timeout_s)
    try:
        return await LoadRun(endpoint, [StreamOfSessions(sessions, at_a_time)], warm_up).carry_out()
    finally:
        pool.close()


async def test_planted_delays_come_out() -> None:
    """A first token after 200 ms and one each 30 ms are measured as that; so are the gaps, one for each event."""
    async with StreamingServer(PlantedAnswer(0.2, 0.03)) as server:
        seen = await run(server, singles(10, tokens=11, every_s=0.1))
    figures = figures_of(seen.records, Spread.of(seen.gaps_s), seen.seconds, SloLimits())
    late_s = 0.02 * slowness()
    assert figures.ttft_s is not None
    assert figures.tpot_s is not None
    assert figures.gap_s is not None
    assert 0.2 <= figures.ttft_s.p50 < 0.2 + late_s
    assert 0.03 <= figures.tpot_s.p50 < 0.03 + late_s
    assert figures.gap_s.count == 100
    assert 0.028 <= figures.gap_s.p50 < 0.03 + late_s
    assert 0.5 <= figures.latency_s.p50 < 0.5 + 11 * late_s  # type: ignore[union-attr]


async def test_counts_are_the_servers() -> None:
    """Requests, output tokens, prompt tokens and cached tokens are what the server sent and said."""
    async with StreamingServer() as server:
        seen = await run(server, singles(25, tokens=7), at_a_time=4)
    figures = figures_of(seen.records, None, seen.seconds, SloLimits())
    assert figures.requests == figures.answered == len(server.bodies) == 25
    assert figures.output_tokens == server.sent_tokens == 175
    assert figures.prompt_tokens == 25 * (2 + 7)
    assert figures.cached_share == pytest.approx(4 / 9)
    assert server.most_open <= 4
    assert server.connections <= 4
    assert all("authorization: Bearer the-key" in head for head in server.heads)


async def test_tokens_are_counted_by_usage_and_not_by_events() -> None:
    """Events of four tokens: usage says how many, and times are of tokens; without it events are counted."""
    async with StreamingServer(PlantedAnswer(0.0, 0.04, tokens_per_event=4)) as server:
        told = (await run(server, singles(1, tokens=40))).records[0]
        server.answer.tells_usage = False
        untold = (await run(server, singles(1, tokens=40))).records[0]
    assert (told.output_tokens, told.counted) == (40, "usage")
    assert (untold.output_tokens, untold.counted) == (10, "events")
    assert told.tpot_s is not None
    assert untold.tpot_s is not None
    assert told.tpot_s < 0.3 * untold.tpot_s
    assert untold.prompt_tokens is None


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    """Twenty requests within 0.2 s at a server that takes 0.5 s for each are all open at once."""
    async with StreamingServer(PlantedAnswer(0.5)) as server:
        seen = await run(server, singles(20, every_s=0.01))
    assert server.most_open == 20
    assert seen.seconds < 0.5 * 20


async def test_a_conversation_has_the_servers_own_answers_in_it() -> None:
    """The second request has the system prompt, the question, its answer and the new question, after its pause."""
    session = Session((Call("first", 3), Call("second", 3, pause_s=0.2)), "system")
    async with StreamingServer() as server:
        seen = await run(server, [session])
    roles = [(message["role"], message["content"]) for message in server.bodies[1]["messages"]]
    assert roles == [("system", "system"), ("user", "first"), ("assistant", "word word word "), ("user", "second")]
    first, second = seen.records
    assert second.sent_s - first.last_s >= 0.19


async def test_sub_agents_run_at_once_and_their_answers_go_on() -> None:
    """Three helpers run side by side before the agent's second call, which has their answers in it."""
    helpers = tuple(Session((Call(f"help {number}", 2),), "system") for number in range(3))
    agent = Session((Call("task", 2), Call("tool result", 2, helpers=helpers)), "system")
    async with StreamingServer(PlantedAnswer(0.2)) as server:
        seen = await run(server, [agent])
    assert server.most_open == 3
    assert server.bodies[-1]["messages"][-1]["content"] == "word word \n" * 3 + "tool result"
    assert len(seen.records) == agent.requests == 5
    assert {record.session for record in seen.records} == {0}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (PlantedAnswer(status=503), "HTTP 503"),
        (PlantedAnswer(cut_after=2), "closed within the answer"),
        (PlantedAnswer(first_s=5.0), "not answered within"),
    ],
)
async def test_failures_are_counted_with_their_reasons(answer: PlantedAnswer, words: str) -> None:
    """A refusal, a cut and a silence are no answers: none is in the latencies, each is told in words."""
    async with StreamingServer(answer) as server:
        seen = await run(server, singles(2), timeout_s=1.0)
    figures = figures_of(seen.records, None, seen.seconds, SloLimits(10.0, 10.0))
    assert figures.answered == 0
    assert figures.within_slo == 0.0
    assert figures.ttft_s is None
    assert all(words in reason for reason in figures.problems)
    assert sum(figures.problems.values()) == 2


async def test_a_failed_call_ends_its_conversation() -> None:
    """What would follow an answer that never came is not sent."""
    session = Session((Call("one", 3), Call("two", 3)))
    async with StreamingServer(PlantedAnswer(status=500)) as server:
        await run(server, [session])
    assert len(server.bodies) == 1


async def test_a_connection_that_the_server_closed_while_idle_fails_nothing() -> None:
    """The server closes each connection after its answer, without saying so: every request is answered all the same."""
    async with StreamingServer(PlantedAnswer(keeps_open=False)) as server:
        seen = await run(server, singles(10), at_a_time=1)
    assert [record.problem for record in seen.records] == [""] * 10


async def test_tls_is_checked_by_the_systems_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with a certificate of a known authority is asked; of an unknown one every request fails, in words."""
    authority = CertificateAuthority(tmp_path)
    async with StreamingServer(tls=authority.server_context("127.0.0.1")) as server:
        unknown = await run(server, singles(2), at_a_time=1)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        known = await run(server, singles(5), at_a_time=1)
    assert all("certificate" in record.problem.lower() for record in unknown.records)
    assert [record.problem for record in known.records] == [""] * 5
    assert server.sent_tokens == 25


async def test_completions_are_asked_with_one_text() -> None:
    """`/v1/completions` gets what was said as one prompt, and its tokens are measured alike."""
    async with StreamingServer() as server:
        pool = ConnectionPool(Address.of(f"{server.url}/v1"))
        endpoint = LoadEndpoint(pool, "planted", path=COMPLETIONS)
        session = Session((Call("a question", 4),), "a system")
        seen = await LoadRun(endpoint, [StreamOfSessions([session])]).carry_out()
        pool.close()
    assert server.heads[0].startswith("POST /v1/completions ")
    assert server.bodies[0]["prompt"] == "a system\na question"
    assert (seen.records[0].output_tokens, seen.records[0].prompt_tokens) == (4, 11)


async def test_nothing_there_is_a_failure_and_not_an_error() -> None:
    """A server that is gone makes failed requests, in words."""
    async with StreamingServer() as server:
        pass
    seen = await run(server, singles(2))
    assert all("cannot connect" in record.problem for record in seen.records)


async def test_a_stopped_run_has_what_had_ended() -> None:
    """Ctrl-C: requests that had ended are there, those under way are not, and the run says that it is not whole."""
    async with StreamingServer() as server:
        pool = ConnectionPool(Address.of(server.url))
        endless = StreamOfSessions(iter(singles(1_000_000)), 2)
        load = LoadRun(LoadEndpoint(pool, "planted"), [endless])
        task = asyncio.create_task(load.carry_out())
        await asyncio.sleep(0.3 * slowness())
        load.stop()
        seen = await task
        pool.close()
    assert not seen.is_whole
    assert len(seen.records) >= 10
    assert all(record.is_answered for record in seen.records)


async def test_the_clients_own_lateness_is_seen() -> None:
    """A loop that is blocked for 300 ms is seen as late by about that, and warned of."""
    async with StreamingServer(PlantedAnswer(0.0, 0.05)) as server:
        for delay_s in (0.1, 0.45):
            asyncio.get_running_loop().call_later(delay_s, time.sleep, 0.3)
        seen = await run(server, singles(1, tokens=20))
    assert seen.client.lag_max_s > 0.2
    assert any("late" in warning for warning in seen.client.warnings(0.1, 0.05))


async def test_the_length_of_prompts_is_measured() -> None:
    """The server counts a word as a token and seven tokens more: that is found. Without usage nothing is claimed."""
    async with StreamingServer() as server:
        pool = ConnectionPool(Address.of(server.url))
        scale = await prompt_scale(LoadEndpoint(pool, "planted"), 0)
        server.answer.tells_usage = False
        untold = await prompt_scale(LoadEndpoint(pool, "planted"), 0)
        pool.close()
    assert (scale.words_per_token, scale.overhead_tokens, scale.is_measured) == (1.0, 7, True)
    assert not untold.is_measured
