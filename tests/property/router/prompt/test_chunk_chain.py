"""Prompts have common leading hashes exactly as far as they have a common prefix."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from router.prompt.canonical import assistant_piece, read_prompt
from router.prompt.chunk_chain import EMPTY_CHAIN, ChunkChain, ChunkHasher
from router.prompt.cut import MIN_CHUNK_BYTES, TIERS

PATH = "/v1/chat/completions"
HASHER = ChunkHasher(seed=7)
texts = st.text(max_size=20).flatmap(lambda text: st.sampled_from([1, 3, 20, 60, 900]).map(lambda times: text * times))
messages = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": texts})
chats = st.lists(messages, max_size=6)


def _chain(chat: list[dict[str, str]], *, model: str = "m", adapter: str = "", cache_salt: str = "") -> ChunkChain:
    body = json.dumps({"messages": chat}).encode()
    return HASHER.of_body(PATH, body, model=model, adapter=adapter, cache_salt=cache_salt)


def _longest(start: int) -> int:
    """Return the largest size of a chunk that starts at `start`, in bytes."""
    return next(size for until, size in TIERS if start < until)


def _common(one: ChunkChain, other: ChunkChain) -> int:
    """Return how many leading bytes two chains have in common by their hashes."""
    shared = 0
    for at, (left, right) in enumerate(zip(one.hashes, other.hashes, strict=False)):
        if left != right:
            break
        shared = one.ends[at]
    return shared


@given(chat=chats)
def test_chunks_cover_the_prompt_but_for_a_short_tail(chat: list[dict[str, str]]) -> None:
    """Chunks follow one another within their length bounds, and the rest is too short to be a chunk."""
    chain = _chain(chat)
    assert len(chain) == len(chain.hashes) == len(chain.ends)
    sizes = [end - start for start, end in zip([0, *chain.ends], chain.ends, strict=False)]
    for start, size in zip([0, *chain.ends], sizes, strict=False):
        assert MIN_CHUNK_BYTES <= size <= _longest(start)
    assert chain.size_bytes - (chain.ends[-1] if chain.ends else 0) == len(chain.tail) < MIN_CHUNK_BYTES
    assert 0 not in chain.hashes


@given(chat=chats, more=st.lists(messages, min_size=1, max_size=3))
def test_the_next_turn_matches_all_that_was_hashed(chat: list[dict[str, str]], more: list[dict[str, str]]) -> None:
    """The next turn of a chat has every chunk of the chat so far, so under `MIN_CHUNK_BYTES` of history are lost."""
    before, after = _chain(chat), _chain([*chat, *more])
    assert after.hashes[: len(before)] == before.hashes
    assert list(after.ends[: len(before)]) == list(before.ends)


@given(one=chats, other=chats)
def test_what_is_shared_is_the_common_prefix(one: list[dict[str, str]], other: list[dict[str, str]]) -> None:
    """Hashes agree only as far as the bytes do, and at least as far as whole chunks fit into the common bytes."""
    left = b"".join(read_prompt(PATH, json.dumps({"messages": one}).encode()).pieces)
    right = b"".join(read_prompt(PATH, json.dumps({"messages": other}).encode()).pieces)
    prefix = next((at for at, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), None)
    common = min(len(left), len(right)) if prefix is None else prefix
    shared = _common(_chain(one), _chain(other))
    assert shared <= common
    assert shared > common - _longest(common) - MIN_CHUNK_BYTES


@given(chat=st.lists(messages, min_size=1, max_size=4), answer=texts)
def test_an_answer_extends_the_chain_to_the_next_turns(chat: list[dict[str, str]], answer: str) -> None:
    """A prompt's chain extended by its answer is the chain of the next turn's first messages."""
    extended = HASHER.extended(_chain(chat), assistant_piece(answer))
    expected = _chain([*chat, {"role": "assistant", "content": answer}])
    assert extended.hashes == expected.hashes
    assert list(extended.ends) == list(expected.ends)
    assert (extended.size_bytes, extended.tail, extended.link) == (expected.size_bytes, expected.tail, expected.link)
    chain = _chain(chat)
    added = HASHER.extension(chain, assistant_piece(answer))
    assert (added.hashes if added else []) == expected.hashes[len(chain) :]
    start = chain.prefix_bytes(len(chain))
    assert ([start + end for end in added.ends] if added else []) == list(expected.ends)[len(chain) :]


@given(chat=st.lists(messages, min_size=1, max_size=2), salt=st.sampled_from(["model", "adapter", "cache_salt"]))
def test_salts_share_nothing(chat: list[dict[str, str]], salt: str) -> None:
    """With another model, adapter, salt or cluster seed, every hash of a prompt is different."""
    chain = _chain(chat).hashes
    assert not set(chain) & set(_chain(chat, **{salt: "other"}).hashes)
    body = json.dumps({"messages": chat}).encode()
    assert not set(chain) & set(ChunkHasher(8).of_body(PATH, body, model="m").hashes)
    salted = json.dumps({"messages": chat, "cache_salt": "mine"}).encode()
    assert not set(chain) & set(HASHER.of_body(PATH, salted, model="m").hashes)


@settings(max_examples=300)
@given(
    path=st.sampled_from([PATH, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/x"]),
    body=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(
                        [
                            "messages",
                            "role",
                            "content",
                            "type",
                            "text",
                            "prompt",
                            "input",
                            "tools",
                            "system",
                            "image_url",
                        ]
                    ),
                    inner,
                    max_size=4,
                ),
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_any_body_has_a_chain(path: str, body: bytes) -> None:
    """No body that a client can send raises; one that is not understood has the empty chain."""
    chain = HASHER.of_body(path, body, model="m")
    assert chain is EMPTY_CHAIN or chain.size_bytes >= 0
