"""Conversations and closed loops of a load: what follows an answer comes after it, and shares what was said."""

from itertools import pairwise
from typing import Any

import pytest

from cluster.errors import SpecError
from deployments.load.sessions.live_stream import LiveStream
from deployments.load.sessions.session_source import sessions_of
from deployments.load.sessions.texts import Texts
from deployments.twin.arrivals import Arrival
from deployments.twin.closed_loop import streams
from deployments.twin.scenario_file import StreamSpec
from tests.unit.deployments.twin.small_cluster import cluster_of, finished, sim_model

CHATS = {"turns": 4.0, "think_s": 2.0, "prompt_tokens": 40, "output_tokens": 100, "prefixes": 3, "prefix_tokens": 600}


def _answered(first: Arrival, seconds: float = 1.0) -> list[Arrival]:
    """Return a conversation's requests if each answer takes so long."""
    found = [first]
    while found[-1].follows is not None:
        following = found[-1].follows(found[-1].at_s + seconds, True)  # noqa: FBT003 - it was answered
        if following is None:
            return found
        found.append(following)
    return found


def test_a_conversation_waits_for_its_answers_and_grows_by_them() -> None:
    """Each request follows the answer before after a pause, with its prompt, its answer and a message as its prompt.

    Of the prompt before and its answer all full blocks but those with the answer's last token are its beginning.
    """
    spec = StreamSpec.model_validate({**CHATS, "rate": 5.0, "requests": 200, "spread": 0.0})
    talks = [_answered(first, 7.0) for first in streams([spec], 0, 32)]
    assert 200 <= sum(map(len, talks)) < 230
    assert len({talk[0].blocks[0] for talk in talks}) == 3
    for talk in talks:
        assert talk[0].prompt_tokens == 640
        for before, after in pairwise(talk):
            assert after.at_s > before.at_s + 7.0
            assert after.prompt_tokens == before.prompt_tokens + 140
            known = [*before.blocks, *before.answer_blocks]
            assert len(known) == (before.prompt_tokens + 99) // 32
            assert after.blocks[: len(known)] == known
        assert not talk[-1].answer_blocks


def test_chats_are_those_that_bench_sends_with_the_same_seed() -> None:
    """Times, lengths, pauses and shared beginnings of every turn are those of `rackserve bench`."""
    spec = LiveStream.model_validate({**CHATS, "rate": 3.0, "requests": 100})
    texts = Texts(1.0, 5)
    sent = list(sessions_of(spec, 0, 5, texts))
    talks = [_answered(first, 0.0) for first in streams([spec], 5, 8)]
    assert [each.begins_s for each in sent] == [talk[0].at_s for talk in talks]
    assert [[call.output_tokens for call in each.calls] for each in sent] == [
        [request.output_tokens for request in talk] for talk in talks
    ]
    for each, talk in zip(sent, talks, strict=True):
        assert talk[0].prompt_tokens == 600 + len(each.calls[0].text.split())
        pauses_s = [after.at_s - before.at_s for before, after in pairwise(talk)]
        assert pauses_s == pytest.approx([call.pause_s for call in each.calls[1:]])
    same = {(one.system == two.system) == (a[0].blocks[0] == b[0].blocks[0])
            for one, a in zip(sent, talks, strict=True) for two, b in zip(sent, talks, strict=True)}  # fmt: skip
    assert same == {True}


def test_more_requests_than_the_default_length_brings_all_come() -> None:
    """`requests` bounds conversations by number alone, at a low rate too."""
    keys: dict[str, Any] = {**CHATS, "rate": 1.0, "requests": 1500}
    assert sum(len(_answered(first)) for first in streams([StreamSpec.model_validate(keys)], 0)) >= 1500
    sent = sessions_of(LiveStream.model_validate(keys), 0, 0, Texts(1.0, 0))
    assert sum(each.requests for each in sent) >= 1500


@pytest.mark.parametrize("turns", [1.0, 3.0])
def test_a_closed_loop_has_as_many_under_way_as_it_says(turns: float) -> None:
    """Five places on one fast engine: never more than five requests at once, and nearly always five without pauses."""
    load = {"at_a_time": 5, "requests": 300, "prompt_tokens": 500, "output_tokens": 50, "turns": turns, "think_s": 1e-6}
    run, found = finished(cluster_of([sim_model(1)], {"load": [load], "block_tokens": 32}))
    assert found.all.answered == run.arrived >= 300
    columns = run.records.columns()
    moments = [*((at_s, 1) for at_s in columns.arrived_s), *((at_s, -1) for at_s in columns.last_s)]
    under_way, busy_s, before_s, most = 0, 0.0, 0.0, 0
    for at_s, change in sorted(moments):
        busy_s += under_way * (at_s - before_s)
        before_s = at_s
        under_way += change
        most = max(most, under_way)
    assert most == 5
    assert busy_s / run.ended_s > 4.7


def test_a_closed_loop_without_a_number_ends_with_its_time() -> None:
    """No conversation begins after `seconds`; those under way finish."""
    load = {"at_a_time": 2, "seconds": 30.0, "prompt_tokens": 500, "output_tokens": 50}
    run, _ = finished(cluster_of([sim_model(1)], {"load": [load]}))
    assert run.records.columns().arrived_s.max() < 30.0 <= run.ended_s < 33.0


def test_a_refused_request_ends_its_conversation() -> None:
    """Where no engine has room for the prompt the client says no more, and its place is the next one's."""
    load = {**CHATS, "at_a_time": 1, "requests": 40, "prompt_tokens": 4000, "spread": 0.0, "output_tokens": 10}
    sim = {"kv_blocks": 200, "block_tokens": 32}
    run, found = finished(cluster_of([sim_model(1, sim=sim)], {"load": [load], "block_tokens": 32}))
    assert found.all.refused["bad_request"] > 0
    assert found.all.answered > 0
    assert run.arrived < 60


def test_a_closed_loop_whose_requests_are_all_refused_comes_to_its_end() -> None:
    """No engine has room for any prompt: time goes on between refusals."""
    load = {"at_a_time": 2, "seconds": 3.0, "prompt_tokens": 30_000, "spread": 0.0, "output_tokens": 10}
    sim = {"kv_blocks": 200, "block_tokens": 32}
    run, found = finished(cluster_of([sim_model(1, sim=sim)], {"load": [load], "block_tokens": 32}))
    assert found.all.refused == {"bad_request": run.arrived}
    assert run.arrived == pytest.approx(600, abs=4)


def test_answers_are_cached_for_the_request_that_follows() -> None:
    """With long answers and short messages nearly all of a conversation's next prompt is cached."""
    load = {**CHATS, "at_a_time": 2, "requests": 200, "prefixes": 0, "spread": 0.0, "prompt_tokens": 64,
            "output_tokens": 640}  # fmt: skip
    cluster = cluster_of([sim_model(1)], {"load": [load], "block_tokens": 32})
    run, _ = finished(cluster)
    columns = run.records.columns()
    later = columns.prompt > 64
    assert later.any()
    # Not cached are the new message and the block with the answer's last token.
    assert set((columns.prompt[later] - columns.cached[later]).tolist()) <= {64 + 32}


def test_time_outside_of_engines_is_part_of_each_latency() -> None:
    """`request_s` comes before the queue: TTFT is longer by it, and a closed loop slower."""
    load = {"at_a_time": 1, "requests": 20, "prompt_tokens": 1000, "output_tokens": 11, "spread": 0.0}
    model = sim_model(1, policy="least_load")
    _, without = finished(cluster_of([model], {"load": [load]}))
    _, with_it = finished(cluster_of([model], {"load": [load], "request_s": 0.2}))
    assert with_it.all.ttft_s[0] == pytest.approx(without.all.ttft_s[0] + 0.2)
    assert with_it.seconds == pytest.approx(without.seconds + 20 * 0.2)


def test_measured_steps_need_no_known_hardware() -> None:
    """Steps as they were measured: of a prompt of 1 000 tokens, and of ten tokens, each attending to all before."""
    measured = {"step_s": 0.01, "sequence_s": 0.002, "context_token_s": 1e-6, "prompt_token_s": 1e-4, "attended_s":
                1e-7, "kv_tokens": 8192}  # fmt: skip
    model = {"name": "m", "source": "someone/unknown", "engine": "vllm", "replicas": 1}
    apart = {"pools": [{"name": role, "role": role, "replicas": 1} for role in ("prefill", "decode")]}
    with pytest.raises(SpecError, match="hand no prompts"):
        cluster_of([{**model, **apart}], {"models": {"m": {"measured": measured}}})
    cluster = cluster_of([model], {"models": {"m": {"measured": measured}}})
    run, _ = finished(cluster, arrivals=iter([Arrival(0.0, "", 1000, 11, [])]))
    columns = run.records.columns()
    assert columns.ttft_s[0] == pytest.approx(0.01 + 1000 * (1e-4 + 1e-7 * 500))
    assert columns.tpot_s[0] == pytest.approx(0.012 + 1e-6 * (1001 + 1010) / 2)


def test_seeds_of_blocks_and_lengths_are_their_own() -> None:
    """Conversations are the same for a seed, blocks included, and other ones for another."""
    spec = StreamSpec.model_validate({**CHATS, "rate": 5.0, "requests": 50})
    one, two, other = ([each._replace(follows=None) for each in streams([spec], seed)] for seed in (1, 1, 2))
    assert one == two != other
