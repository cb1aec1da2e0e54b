"""Canonical bytes found again in the tokens' text, whatever the template puts around them and wherever tokens end."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from deployments.kv_residency.alignment import token_ends, token_ends_in_proportion
from router.prompt.message_piece import FIELD, PIECE_END

WORDS = ["river", "mountain", "paper", "history", "music", "water", "light", "energy", "東京", "naïve", "über", "loop"]


def _content(rng: Random, words: int) -> bytes:
    return " ".join(rng.choices(WORDS, k=words)).encode()


def _cut(text: bytes, rng: Random) -> list[bytes]:
    """Cut text into tokens of 1 to 8 bytes."""
    tokens = []
    while text:
        size = rng.randrange(1, 9)
        tokens.append(text[:size])
        text = text[size:]
    return tokens


@given(st.integers(0, 1 << 32), st.integers(1, 6), st.integers(0, 400))
def test_ends_within_contents_are_found_to_the_token(seed: int, messages: int, preamble: int) -> None:
    """However much the template adds before, between and after, an end in a message's text is found exactly."""
    rng = Random(seed)
    canonical, rendered = b"", bytes(rng.choices(b"abc <>\n", k=preamble))
    wanted: list[tuple[int, int]] = []
    for number in range(messages):
        role = rng.choice([b"user", b"assistant", b"system"])
        content = b"%d " % number + _content(rng, rng.randrange(5, 60))
        start, here = len(canonical) + len(role) + 1, len(rendered) + 12 + len(role)
        for _ in range(3):
            offset = rng.randrange(1, len(content) + 1)
            wanted.append((start + offset, here + offset))
        canonical += role + FIELD + content + PIECE_END
        rendered += b"<|im_start|>" + role + content + b"<|im_end|>\n"
    texts = _cut(rendered + b"<|im_start|>assistant\n", rng)
    wanted.sort()
    found = token_ends(canonical, [end for end, _ in wanted], texts).tolist()
    for (_, offset), tokens in zip(wanted, found, strict=True):
        assert len(b"".join(texts[: tokens - 1])) < offset <= len(b"".join(texts[:tokens]))


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8), st.lists(st.binary(max_size=9), max_size=90))
def test_ends_always_grow_and_stay_within(canonical: bytes, ends: list[int], texts: list[bytes]) -> None:
    """Even where the two have nothing in common, ends are in order and no further than the tokens."""
    ends = sorted(min(end, len(canonical)) for end in ends)
    for found in (
        token_ends(canonical, ends, texts).tolist(),
        token_ends_in_proportion(len(canonical), ends, len(texts)).tolist(),
    ):
        assert found == sorted(found)
        assert all(0 <= tokens <= len(texts) for tokens in found)


def test_a_template_that_strips_and_one_that_rewrites() -> None:
    """Contents are found though the template strips them; what it words anew lies between what is found."""
    text = b"Explain how rivers shape valleys over a long time."
    canonical = b"tools" + FIELD + b'{"a":1,"b":[1,2,3,4,5,6,7]}' + PIECE_END + b"user" + FIELD + b"  " + text + b"\n"
    rendered = b"You may call these functions: a is 1, b is a list of seven numbers. USER " + text
    texts = [rendered[at : at + 4] for at in range(0, len(rendered), 4)]
    start = canonical.index(text)
    ends = token_ends(canonical, [start - 20, start, start + len(text)], texts).tolist()
    assert ends[1] * 4 - rendered.index(text) in range(5)
    assert ends[2] == len(texts)
    assert 0 < ends[0] < ends[1]


def test_prompts_that_hide_their_texts_cost_little() -> None:
    """A prompt of many texts that are not there is given up on, not searched for one by one."""
    canonical = b"".join(b"user" + FIELD + b"%020d" % number + PIECE_END for number in range(50_000))
    texts = [b"abcdefgh"] * 50_000
    assert token_ends(canonical, [len(canonical)], texts).tolist() == [50_000]
