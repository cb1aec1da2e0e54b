"""Tokens of reasoning as vLLM's own parsers tell them, with a tokenizer of three words and no model."""

import time
from typing import Any

import pytest

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch and its libraries, at their import
]
START, END, WORD = 1, 2, 5
TEXTS = {START: "<think>", END: "</think>", WORD: "hm "}


class Tokenizer:
    """What parsers ask of a tokenizer."""

    all_special_tokens = ()

    def get_vocab(self) -> dict[str, int]:
        """Return the token of each text."""
        return {text: token for token, text in TEXTS.items()}


def _parser(name: str = "deepseek_r1") -> Any:  # noqa: ANN401 - vLLM's own
    from vllm.parser.parser_manager import ParserManager  # noqa: PLC0415 - takes seconds to load

    from deployments.engines.vllm.parsers.reasoning_tokens import count_as_it_comes  # noqa: PLC0415 - imports vLLM

    count_as_it_comes()
    made = ParserManager.get_parser(reasoning_parser_name=name)
    assert made is not None
    return made(Tokenizer())


def _streamed(parser: Any, prompt: list[int], answer: list[int]) -> list[int]:  # noqa: ANN401 - vLLM's own
    """Return what is told after each token."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest  # noqa: PLC0415

    request = ChatCompletionRequest(messages=[{"role": "user", "content": "x"}], model="m")
    told = []
    for at, token in enumerate(answer, 1):
        parser.parse_delta(TEXTS[token], [token], request, prompt, finished=at == len(answer))
        told.append(parser.count_reasoning_tokens(tuple(answer[:at])))
    return told


@pytest.mark.parametrize(
    ("prompt", "answer", "right"),
    [
        ([WORD, START], [WORD, WORD, END, WORD], [1, 2, 2, 2]),
        ([WORD], [START, WORD, WORD, END, WORD], [0, 1, 2, 2, 2]),
        ([START, WORD, END], [WORD, WORD], [0, 0]),
        ([START], [WORD, WORD], [1, 2]),
    ],
    ids=["begun by the prompt", "begun by the answer", "over in the prompt", "cut within it"],
)
def test_a_stream_tells_its_reasoning(prompt: list[int], answer: list[int], right: list[int]) -> None:
    """Whether prompt or answer begins it: vLLM 0.32 by itself tells 0 where DeepSeek-R1's chat template did."""
    assert _streamed(_parser(), prompt, answer) == right


def test_one_answer_after_another_is_counted_by_itself() -> None:
    """As `/v1/responses` counts the rounds of a conversation with tools, with one parser; and of whole answers."""
    parser = _parser()
    assert parser.count_reasoning_tokens((WORD, WORD, END, WORD)) == 2
    assert parser.count_reasoning_tokens((WORD, END, WORD, WORD, WORD, WORD)) == 1
    assert parser.count_reasoning_tokens([]) == 0


def test_a_long_answer_is_not_counted_anew_for_each_event() -> None:
    """4 000 tokens take 0.8 s of vLLM's own counting, and time that grows with the square of the answer."""
    parser = _parser()
    answer = tuple([WORD] * 4_000)
    began_s = time.process_time()
    assert [parser.count_reasoning_tokens(answer[:at]) for at in range(1, 4_001)] == list(range(1, 4_001))
    assert time.process_time() - began_s < 0.3
