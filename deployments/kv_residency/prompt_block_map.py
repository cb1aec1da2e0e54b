"""Maps the chunks of each prompt, and of its answer, to the KV blocks that decide whether they are resident."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from deployments.engines.extra_keys import prompt_extras
from deployments.engines.interface import AnswerSeen, PromptSeen, TokenTexts
from deployments.kv_residency.alignment import token_ends, token_ends_in_proportion
from deployments.kv_residency.block_keys import ROOT, block_keys, packed
from deployments.kv_residency.chunk_block_map import ChunkBlockMap
from deployments.kv_residency.place import Place
from router.prompt.canonical import Prompt, UnknownPromptError, assistant_piece, read_prompt
from router.prompt.chunk_chain import ChunkChain, ChunkHasher

CHAT_PATHS = frozenset({"/v1/chat/completions", "/v1/messages", "/v1/responses"})
"""APIs where an answer becomes a message of the next request."""
MAX_OPEN = 4096
"""Most requests remembered until their answer is complete; beyond it the oldest one's answer is not mapped."""
OVERLAP = 4
"""Tokens read again before the end of a prompt's known beginning: a token may cross that boundary."""


@dataclass(slots=True)
class _Open:
    """A prompt that waits for its answer: what is needed to map the answer's chunks.

    Attributes:
        chain: the prompt's chunks.
        chain_tokens: where the last chunk ends, in tokens.
        decided: chunks that have a block; the block in which the answer begins decides the others.
        decided_tokens: where the last of the decided chunks ends, in tokens.
        undecided_ends: where each of the other chunks ends, in tokens.
        rest: token ids from `rest_start` to the prompt's end: those of no full block or of no chunk.
        rest_start: position in the prompt of the first of `rest`, in tokens.
        full_blocks: full blocks of the prompt.
        last_key: the key of the last full block; `ROOT`: there is none.
        adapter: the LoRA adapter's name; "": none.
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
    """Cuts prompts into chunks and blocks, and maps the chunks to the blocks.

    The block that holds a chunk's middle token decides it. What a gateway believes to be cached is then at most half a
    chunk off; with the last token it would be up to a whole chunk.

    Args:
        hasher: hashes chunks exactly as the gateways do.
        model: the model's name, as gateways use it.
        chunk_block_map: where the mapping is stored.
        place_of: returns where the engine holds the block with a key.
        block_tokens: tokens per block.
        token_texts: the text of each token id; None: not known.
    """

    def __init__(  # noqa: PLR0913 - what chunks and blocks are made of
        self,
        hasher: ChunkHasher,
        model: str,
        *,
        chunk_block_map: ChunkBlockMap,
        place_of: Callable[[int], Place],
        block_tokens: int,
        token_texts: TokenTexts | None,
    ) -> None:
        self._hasher = hasher
        self._model = model
        self._chunk_block_map = chunk_block_map
        self._place_of = place_of
        self._block_tokens = block_tokens
        self._texts = token_texts
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def prompt(self, event: PromptSeen, path: str, body: bytes) -> ChunkChain | None:
        """Map a prompt's chunks.

        Args:
            event: the prompt as the engine tokenized it.
            path: the request's path, without the query.
            body: the request's body.

        Returns:
            The prompt's chunk chain; None: the body is not understood.
        """
        try:
            prompt = read_prompt(path, body)
        except UnknownPromptError:
            return None
        chain = self._hasher.of_prompt(prompt, model=self._model, adapter=event.adapter)
        ids = event.token_ids
        tokens, size = len(ids), self._block_tokens
        extras = prompt_extras(tokens // size, size, event.adapter, event.cache_salt, event.media)
        keys = block_keys(packed(ids), size, extras=extras)
        ends = self._ends(chain, prompt, ids)
        decided = self._map(chain.hashes, ends, 0, keys, 0)
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
        """Map the chunks of an answer: the next turn's prompt will contain it."""
        open_ = self._open.pop(event.request_id, None)
        if open_ is None:
            return
        for text, ids in zip(event.texts, event.token_ids, strict=True):
            if text and ids:
                self._map_answer(open_, assistant_piece(text), [*open_.rest, *ids])

    def _map_answer(self, open_: _Open, piece: bytes, ids: Sequence[int]) -> None:
        """Map one answer's chunks.

        Args:
            open_: the prompt.
            piece: canonical bytes of the answer as a message.
            ids: token ids of prompt and answer from `open_.rest_start` on.
        """
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
        self._map(longer.hashes[open_.decided :], ends, open_.decided_tokens, keys, open_.full_blocks)

    def _ends(self, chain: ChunkChain, prompt: Prompt, ids: Sequence[int]) -> list[int]:
        """Return where each chunk ends, in tokens from the prompt's start."""
        if prompt.tokens:
            return _ends_of_ids(prompt.pieces[0], chain.ends)
        known: list[int] = []
        for chunk in chain.hashes:
            tokens = self._chunk_block_map.tokens(chunk)
            if tokens is None:
                break
            known.append(tokens)
        if len(known) == len(chain):
            return known
        start_byte, start = (chain.ends[len(known) - 1], max(0, known[-1] - OVERLAP)) if known else (0, 0)
        if start >= len(ids):  # another chat template: the known ends do not fit this prompt
            known, start_byte, start = [], 0, 0
        canonical = b"".join(prompt.pieces)[start_byte:]
        new_ends = [end - start_byte for end in islice(chain.ends, len(known), None)]
        return known + self._place(canonical, new_ends, ids[start:], start)

    def _place(self, canonical: bytes, ends: Sequence[int], ids: Sequence[int], start: int) -> list[int]:
        """Return where canonical bytes end, in tokens from the prompt's start.

        Args:
            canonical: canonical bytes of the prompt's last part.
            ends: offsets in `canonical`, in bytes.
            ids: the same part's token ids.
            start: position of the first of `ids` in the prompt.
        """
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
        except LookupError:  # an id outside the vocabulary, such as a placeholder
            return None

    def _map(self, chunks: Sequence[int], ends: Sequence[int], begin: int, keys: Sequence[int], first: int) -> int:
        """Map consecutive chunks to blocks.

        Args:
            chunks: the chunks' hashes.
            ends: where each chunk ends, in tokens from the prompt's start.
            begin: where the first chunk begins, in tokens from the prompt's start.
            keys: keys of consecutive blocks.
            first: number in the prompt of the first block of `keys`.

        Returns:
            The number of leading chunks whose middle lies before the end of `keys`; the rest have no block yet.
        """
        add, place_of = self._chunk_block_map.add, self._place_of
        two_blocks = 2 * self._block_tokens
        for position, (chunk, end) in enumerate(zip(chunks, ends, strict=True)):
            block = (begin + end) // two_blocks - first
            if block >= len(keys):
                return position
            if block >= 0:
                key = keys[block]
                add(chunk, key, end, place=place_of(key))
            begin = end
        return len(chunks)


def _ends_of_ids(digits: bytes, ends: Sequence[int]) -> list[int]:
    """Return how many token ids end before each byte offset of `ends`, in a prompt given as `1,22,333,`."""
    tokens, start, found = 0, 0, []
    for end in ends:
        tokens += digits.count(b",", start, end)
        found.append(tokens)
        start = end
    return found
