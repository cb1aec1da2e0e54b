"""LoadGen's samples: prompts drawn as a stream says, or questions with the answers that are right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from cluster.errors import SpecError, SpecProblem
from deployments.load.sessions.live_stream import LiveStream
from deployments.load.sessions.texts import Texts
from deployments.twin.arrivals import RequestMaker

MOST_SAMPLES: Final = 1024
"""Different prompts: LoadGen draws among them, so one may come again, and be cached."""
_MOST_TOKENS: Final = 16_000_000
"""Tokens of them all, about: four bytes each are kept."""
ANSWER_TOKENS: Final = 64
QUESTIONS: Final = Path(__file__).with_name("questions.jsonl")
"""A small set of questions with answers of one or two words: whether a model and its engine still answer right."""


@dataclass(frozen=True, slots=True)
class LoadGenSample:
    """One prompt.

    Attributes:
        prompt: its text.
        output_tokens: length of the answer, at most or exactly.
        answer: what a right answer has in it; "": nobody knows.
    """

    prompt: str
    output_tokens: int
    answer: str = ""


class _Question(msgspec.Struct):
    prompt: str
    answer: str
    max_tokens: int = ANSWER_TOKENS


def drawn_samples(spec: LiveStream, seed: int, texts: Texts) -> list[LoadGenSample]:
    """Return prompts of a stream's lengths: `MOST_SAMPLES`, or fewer where they are very long."""
    wanted = max(1, min(MOST_SAMPLES, _MOST_TOKENS // spec.prompt_tokens))
    maker = RequestMaker(spec, Random(f"{seed} samples"))  # noqa: S311 - replayable
    drawn = [maker.first(0.0) for _ in range(wanted)]
    return [LoadGenSample(texts.prompt(each.blocks, each.prompt_tokens), each.output_tokens) for each in drawn]


def read_questions(path: Path) -> list[LoadGenSample]:
    """Return the questions of a file: `{"prompt": …, "answer": …}` on each line, with `max_tokens` if wanted.

    Raises:
        SpecError: it cannot be read, or lines of it are wrong.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SpecError(str(path), [SpecProblem("", f"it cannot be read: {error.strerror or error}")]) from error
    samples, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            question = msgspec.json.decode(line, type=_Question)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            problems.append(SpecProblem(f"line {number}", f'{error}; say {{"prompt": …, "answer": …}}'))
            continue
        samples.append(LoadGenSample(question.prompt, question.max_tokens, question.answer))
    if problems or not samples:
        raise SpecError(str(path), problems or [SpecProblem("", "it has no questions")])
    return samples


def is_right(sample: LoadGenSample, text: str) -> bool:
    """Return whether an answer has the right words in it, as whole words; case does not count."""
    return re.search(rf"(?<!\w){re.escape(sample.answer)}(?!\w)", text, re.IGNORECASE) is not None


def right_share(samples: Sequence[LoadGenSample], answers: dict[int, str]) -> float:
    """Return the share of samples whose answer is right; one without an answer is wrong.

    Args:
        samples: the samples.
        answers: text by the sample's place.
    """
    right = sum(is_right(sample, answers.get(place, "")) for place, sample in enumerate(samples))
    return right / len(samples)
