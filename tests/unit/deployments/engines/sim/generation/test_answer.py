"""What ends a simulated answer, and what of it is shown when."""

from deployments.engines.sim.generation.answer import Answer, AnswerRules
from deployments.engines.sim.generation.prompt import SimPrompt

QUESTION = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def prompt(begun: str = "") -> SimPrompt:
    """Return a chat prompt, with the beginning of an answer."""
    return SimPrompt(QUESTION + begun, 4.0, from_ids=False, answer_from=len(QUESTION))


def run(answer: Answer) -> list[str]:
    """Sample to the end; return what could be shown after each token."""
    shown = []
    text = answer.prompt.units
    while answer.finish_reason is None:
        text += answer.sample(text[-192:])
        shown.append(answer.take_new())
    return shown


def test_the_limit_ends_it() -> None:
    """`max_tokens` words, shown one by one."""
    answer = Answer(0, prompt(), AnswerRules(max_tokens=5), salt=0)
    shown = run(answer)
    assert answer.finish_reason == "length"
    assert answer.tokens == len(shown) == 5
    assert "".join(shown) == answer.text
    assert len(answer.text.split(" ")) == 5


def test_it_ends_by_itself() -> None:
    """After its words comes a last token without text."""
    answer = Answer(0, prompt(), AnswerRules(max_tokens=1000, mean_words=10), salt=0)
    shown = run(answer)
    assert (answer.finish_reason, answer.stop_reason) == ("stop", None)
    assert shown[-1] == ""
    assert 5 <= len(answer.text.split(" ")) == answer.tokens - 1 <= 15


def test_a_continued_answer_ends_where_the_whole_would() -> None:
    """The end is a function of the prompt, wherever the answer is taken up."""
    rules = AnswerRules(max_tokens=1000, mean_words=20)
    whole = Answer(0, prompt(), rules, salt=0)
    run(whole)
    words = whole.text.split(" ")
    for cut in (1, 5, len(words)):
        begun = " ".join(words[:cut])
        rest = Answer(0, prompt(begun), rules, salt=0)
        run(rest)
        assert begun + rest.text == whole.text
        assert rest.finish_reason == "stop"


def test_a_stop_string_ends_it_and_is_never_shown() -> None:
    """What may be the beginning of a stop string waits until it is known not to be."""
    free = Answer(0, prompt(), AnswerRules(max_tokens=20), salt=0)
    run(free)
    stop = free.text[30:36]
    cut = Answer(0, prompt(), AnswerRules(max_tokens=20, stops=("nowhere to be found", stop)), salt=0)
    shown = run(cut)
    assert "".join(shown) == cut.text == free.text[: free.text.index(stop)]
    assert (cut.finish_reason, cut.stop_reason) == ("stop", stop)
    kept = Answer(0, prompt(), AnswerRules(max_tokens=20, stops=(stop,), keep_stop=True), salt=0)
    run(kept)
    assert kept.text == free.text[: free.text.index(stop)] + stop


def test_a_minimum_comes_before_any_end() -> None:
    """Until `min_tokens` neither a stop string nor its own end stops it."""
    free = Answer(0, prompt(), AnswerRules(max_tokens=30), salt=0)
    run(free)
    stop = free.text.split(" ")[1]
    answer = Answer(0, prompt(), AnswerRules(max_tokens=30, min_tokens=12, stops=(stop,), mean_words=2), salt=0)
    run(answer)
    assert answer.tokens >= 12


def test_answers_to_token_ids_are_tokens() -> None:
    """To a prompt of token ids each word adds one unit."""
    answer = Answer(0, SimPrompt("abc", 1.0, from_ids=True, answer_from=3), AnswerRules(max_tokens=3), salt=0)
    assert [len(answer.sample("abc")) for _ in range(3)] == [1, 1, 1]
