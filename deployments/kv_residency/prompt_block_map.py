"""Ties each prompt's chunks, and its answer's, to the KV blocks that will decide whether they are resident."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from deployments.engines.extra_keys import prompt_extras
from deployments.engines.interface import AnswerSeen, PromptSeen, TokenTexts
from deployments.kv_residency.alignment import token_ends, token_ends_in_proportion
from deployments.kv_residency.block_keys import ROOT, block_keys, packed
from deployments.kv_residency.chunk_block_map import ChunkBlockMap
from router.prompt.canonical import Prompt, UnknownPromptError, assistant_piece, read_prompt
from router.prompt.chunk_chain import ChunkChain, ChunkHasher

CHAT_PATHS = frozenset({"/v1/chat/completions", "/v1/messages", "/v1/responses"})
"""Where an answer becomes a message of the next request."""
MAX_OPEN = 4096
"""Requests remembered until their answer is there. Beyond it the oldest is forgotten, and its answer not tied."""
OVERLAP = 4
"""Where a prompt's beginning is known, its text is read from so many tokens before: a token may cross the boundary."""


@dataclass(slots=True)
class _Open:
    """What it takes to go on with a prompt once its answer is there.

    Attributes:
        chain: the prompt's.
        chain_tokens: where the chain's last chunk ends, in tokens.
        decided: how many of its chunks are tied; the others are decided by the block that the answer begins in.
        decided_tokens: where the last of those ends.
        undecided_ends: where the others end.
        rest: token ids from `rest_start` on: the last, unfilled block, and what is in no chunk.
        full_blocks: the prompt's.
        last_key: of the last of them.
        adapter: the LoRA adapter's name, or "".
    """

    chain: ChunkChain
    chain_tokens: int
    decided: int
    decided_tokens: int
    undecided_ends: Sequence[int]
    rest: Sequence[int]
    rest_start: int
    full_blocks: int
    last_key: int
    adapter: str


class PromptBlockMap:
    """Cuts prompts into chunks and blocks, and ties the ones to the others.

    The block that holds a chunk's middle token decides it: then what a gateway believes to be cached is at most half a
    chunk away from what is (a whole one, were it the last token's).

    Args:
        hasher: as the gateways'.
        model: as the gateways name it.
        ties: where the ties go.
        is_held: whether the engine holds a block, by its key.
        block_tokens: tokens a block.
        token_texts: what token ids stand for; None: not known.
    """

    def __init__(  # noqa: PLR0913 - what the two sides of a tie are made of
        self,
        hasher: ChunkHasher,
        model: str,
        *,
        ties: ChunkBlockMap,
        is_held: Callable[[int], bool],
        block_tokens: int,
        token_texts: TokenTexts | None,
    ) -> None:
        self._hasher = hasher
        self._model = model
        self._ties = ties
        self._is_held = is_held
        self._block_tokens = block_tokens
        self._texts = token_texts
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def prompt(self, event: PromptSeen, path: str, body: bytes) -> ChunkChain | None:
        """Tie a prompt.

        Args:
            event: the prompt as the engine has it.
            path: the request's, without the query.
            body: the request's.

        Returns:
            The prompt's chain; None where the body cannot be understood.
        """
        try:
            prompt = read_prompt(path, body)
        except UnknownPromptError:
            return None
        chain = self._hasher.of_prompt(prompt, model=self._model)
        ids = event.token_ids
        tokens, size = len(ids), self._block_tokens
        extras = prompt_extras(tokens // size, size, event.adapter, event.cache_salt, event.media)
        keys = block_keys(packed(ids), size, extras=extras)
        ends = self._ends(chain, prompt, ids)
        decided = self._tie(chain.hashes.tolist(), ends, 0, keys, 0)
        if path in CHAT_PATHS:
            chain_tokens = ends[-1] if ends else 0
            start = min(len(keys) * size, max(0, chain_tokens - OVERLAP))
            self._open[event.request_id] = _Open(
                chain=chain,
                chain_tokens=chain_tokens,
                decided=decided,
                decided_tokens=ends[decided - 1] if decided else 0,
                undecided_ends=ends[decided:],
                rest=ids[start:],
                rest_start=start,
                full_blocks=len(keys),
                last_key=keys[-1] if keys else ROOT,
                adapter=event.adapter,
            )
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return chain

    def answer(self, event: AnswerSeen) -> None:
        """Tie an answer: the next turn's prompt will hold it."""
        open_ = self._open.pop(event.request_id, None)
        if open_ is None:
            return
        for text, ids in zip(event.texts, event.token_ids, strict=True):
            if text and ids:
                self._tie_answer(open_, assistant_piece(text), [*open_.rest, *ids])

    def _tie_answer(self, open_: _Open, piece: bytes, ids: Sequence[int]) -> None:
        """Tie one answer; `ids` are those of prompt and answer from `open_.rest_start` on."""
        chain, size = open_.chain, self._block_tokens
        longer = self._hasher.extended(chain, piece)
        canonical = chain.tail + piece
        start_byte = chain.size_bytes - len(chain.tail)
        new_ends = [end - start_byte for end in islice(longer.ends, len(chain), None)]
        unfilled = open_.full_blocks * size - open_.rest_start
        extras = prompt_extras(len(ids) // size + 1, size, open_.adapter, "", ())
        keys = block_keys(packed(ids[unfilled:]), size, open_.last_key, extras)
        start = max(open_.rest_start, open_.chain_tokens - OVERLAP)
        ends = [*open_.undecided_ends, *self._place(canonical, new_ends, ids[start - open_.rest_start :], start)]
        self._tie(longer.hashes[open_.decided :].tolist(), ends, open_.decided_tokens, keys, open_.full_blocks)

    def _ends(self, chain: ChunkChain, prompt: Prompt, ids: Sequence[int]) -> list[int]:
        """Return where in the prompt each chunk ends, in tokens."""
        if prompt.tokens:
            return _ends_of_ids(prompt.pieces[0], chain.ends)
        known: list[int] = []
        for chunk in chain.hashes.tolist():
            tokens = self._ties.tokens(chunk)
            if tokens is None:
                break
            known.append(tokens)
        if len(known) == len(chain):
            return known
        start_byte, start = (chain.ends[len(known) - 1], max(0, known[-1] - OVERLAP)) if known else (0, 0)
        if start >= len(ids):  # an unlike template: what was known does not fit
            known, start_byte, start = [], 0, 0
        canonical = b"".join(prompt.pieces)[start_byte:]
        new_ends = [end - start_byte for end in islice(chain.ends, len(known), None)]
        return known + self._place(canonical, new_ends, ids[start:], start)

    def _place(self, canonical: bytes, ends: Sequence[int], ids: Sequence[int], start: int) -> list[int]:
        """Return where canonical bytes end in the prompt's tokens, of which `ids` begin with the number `start`."""
        texts = self._texts_of(ids)
        if texts is None:
            placed = token_ends_in_proportion(len(canonical), ends, len(ids))
        else:
            placed = token_ends(canonical, ends, texts)
        found: list[int] = (placed + start).tolist()
        return found

    def _texts_of(self, ids: Sequence[int]) -> list[bytes] | None:
        if self._texts is None:
            return None
        try:
            return list(map(self._texts.__getitem__, ids))
        except LookupError:  # an id beyond the vocabulary, such as a placeholder
            return None

    def _tie(self, chunks: Sequence[int], ends: Sequence[int], begin: int, keys: Sequence[int], first: int) -> int:
        """Tie chunks that follow one another, the first of which begins with token `begin`.

        Args:
            chunks: their hashes.
            ends: where each ends, in tokens of the prompt.
            begin: where the first begins.
            keys: of the blocks from number `first` of the prompt on.
            first: see `keys`.

        Returns:
            How many chunks a block of `keys` decides, or one before; those behind it are decided by none yet.
        """
        tie, is_held = self._ties.tie, self._is_held
        two_blocks = 2 * self._block_tokens
        for position, (chunk, end) in enumerate(zip(chunks, ends, strict=True)):
            block = (begin + end) // two_blocks - first
            if block >= len(keys):
                return position
            if block >= 0:
                key = keys[block]
                tie(chunk, key, end, is_held=is_held(key))
            begin = end
        return len(chunks)


def _ends_of_ids(digits: bytes, ends: Sequence[int]) -> list[int]:
    """Return how many ids are complete up to each end, in a prompt of ids that stand as digits with commas behind."""
    tokens, start, found = 0, 0, []
    for end in ends:
        tokens += digits.count(b",", start, end)
        found.append(tokens)
        start = end
    return found
