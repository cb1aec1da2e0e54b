"""LoadGen's samples, and which answers are right."""

from pathlib import Path

import pytest

from cluster.errors import SpecError
from deployments.load.figures.measures import SloLimits
from deployments.load.mlperf.samples import QUESTIONS, LoadGenSample, is_right, read_questions, right_share
from deployments.load.mlperf.scenarios import LoadGenPlan
from deployments.load.sessions.live_stream import LiveStream


def test_the_built_in_questions_can_be_read_and_differ() -> None:
    """Forty questions, each once, each with an answer."""
    samples = read_questions(QUESTIONS)
    assert len({sample.prompt for sample in samples}) == len(samples) == 40
    assert all(sample.answer for sample in samples)


def test_a_right_answer_has_the_words_as_words() -> None:
    """Case does not count; a part of another word is not the word, and a symbol may end a sentence."""
    gold = LoadGenSample("?", 8, "Au")
    assert is_right(gold, "It is au.")
    assert not is_right(gold, "Because it is Autumn.")
    assert right_share([gold, gold, gold, gold], {0: "Au", 1: "no", 3: "AU"}) == 0.5


def test_every_wrong_line_of_questions_is_told(tmp_path: Path) -> None:
    """Two wrong lines are two problems, by their numbers; an empty file has its own words."""
    file = tmp_path / "questions.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": "a", "answer": "b"}\nnonsense\n')
    with pytest.raises(SpecError) as caught:
        read_questions(file)
    assert [problem.path for problem in caught.value.problems] == ["line 1", "line 3"]
    file.write_text("\n")
    with pytest.raises(SpecError, match="no questions"):
        read_questions(file)


def test_scenarios_have_mlperfs_limits_unless_others_are_given() -> None:
    """`interactive` wants 15 ms a token; a limit of one's own takes its place, and only its own."""
    plan = LoadGenPlan.of("interactive", LiveStream(), SloLimits(), 0, 10, is_accuracy=False)
    assert (plan.slo.ttft_s, plan.slo.tpot_s) == (1.5, 0.015)
    assert plan.least_s == 600.0
    own = LoadGenPlan.of("server", LiveStream(requests=50), SloLimits(0.3, None), 0, 10, is_accuracy=False)
    assert (own.slo.ttft_s, own.slo.tpot_s) == (0.3, 0.080)
    assert (own.least_requests, own.least_s) == (50, 0.0)
