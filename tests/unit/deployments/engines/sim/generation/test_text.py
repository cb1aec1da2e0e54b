"""The simulated engine's words."""

from deployments.engines.sim.generation.text import TAIL_CHARS, VOCABULARY, answer_words, next_word, rest_of_word


def words_after(text: str, count: int, salt: int = 0) -> str:
    """Return the next `count` words after `text`."""
    said = ""
    for _ in range(count):
        said += next_word((text + said)[-TAIL_CHARS:], salt)
    return said


def test_an_answer_cut_between_words_goes_on_the_same() -> None:
    """Whoever has the text so far says what the first would have said: the ground of taking a stream over."""
    whole = words_after("user\nHi\nassistant\n", 40)
    words = whole.split(" ")
    for cut in (1, 7, 39):
        so_far = " ".join(words[:cut])
        assert so_far + words_after("user\nHi\nassistant\n" + so_far, 40 - cut) == whole


def test_an_answer_cut_within_a_word_may_go_on_with_another() -> None:
    """A word is a token: of a part of it some word is made that begins alike, sometimes the right one."""
    whole = words_after("assistant\n", 60)
    ends = set()
    for cut in range(10, len(whole)):
        part = whole[:cut].rpartition(" ")[2]
        rest = rest_of_word("assistant\n" + whole[:cut], 0)
        if part != whole[: (whole + " ").index(" ", cut)].rpartition(" ")[2]:
            assert part + rest in VOCABULARY
            ends.add(whole[cut:].startswith(rest))
        else:
            assert not rest
    assert ends == {True, False}


def test_other_prompts_and_salts_say_other_things() -> None:
    """The words depend on the prompt and on the salt."""
    said = {words_after("one\n", 10), words_after("two\n", 10), words_after("one\n", 10, salt=1)}
    assert len(said) == 3


def test_words_are_about_as_long_as_tokens() -> None:
    """A word with its space has about 4 characters, as a token has, and some words are no ASCII."""
    assert 3.8 < sum(len(word) + 1 for word in VOCABULARY) / len(VOCABULARY) < 4.8
    assert any(not word.isascii() for word in VOCABULARY)
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert not any(" " in word for word in VOCABULARY)


def test_only_lines_begin_without_a_space() -> None:
    """The first word of an answer has no space before it, the next ones have one."""
    assert not next_word("assistant\n", 0).startswith(" ")
    assert next_word("assistant\nriver", 0).startswith(" ")


def test_answers_have_a_typical_length() -> None:
    """From half to one and a half times the mean, never none."""
    lengths = [answer_words(f"prompt {number}", 0, 100) for number in range(300)]
    assert 50 <= min(lengths) < 60
    assert 140 < max(lengths) <= 150
    assert answer_words("x", 0, 1) >= 1
