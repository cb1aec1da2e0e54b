"""Drives the simulation with one timer for all requests.

The timer waits for the length of each step of `scheduler`, then gives the sampled tokens to the waiting requests.
"""

import asyncio
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.spec.model_parts.kv_cache_spec import OffloadSpec
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.interface import AllCleared, AnswerSeen, EngineStats, PromptSeen
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.generation.drafting import Drafting
from deployments.engines.sim.generation.prompt import SimPrompt, boundary, token_ids
from deployments.engines.sim.generation.scheduler import MAX_BATCHED_TOKENS, SimScheduler
from deployments.engines.sim.generation.sequence import Sequence
from deployments.engines.sim.generation.text import TAIL_CHARS
from deployments.engines.sim.generation.tiers import NOTHING, SimTiers
from deployments.engines.sim.generation.vocabulary import SimVocabulary

if TYPE_CHECKING:
    from deployments.engines.sim.generation.handoff import PromptHandoff

MAX_LAG_S = 0.05
"""Longest delay of a step, in seconds, that the engine makes up for; further delay is lost time."""


@dataclass(slots=True)
class SimTotals:
    """Totals since the engine started, for `/metrics`.

    Attributes:
        prompt_tokens: tokens of prompts that began to be answered.
        cached_tokens: those of them that were found in the prefix cache.
        fetched_tokens: those of them that came from other engines.
        generated_tokens: tokens sampled.
        finished: number of answers by finish reason.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    fetched_tokens: int = 0
    generated_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})


class Generation:
    """One request's answers, from submission to the last token.

    Attributes:
        request_id: the id in `PromptSeen`.
        answers: the answers, in order of their index.
        sequences: the scheduler's sequence of each answer.
        fresh: answers that have sampled a token since `next` last returned.
        unfinished: number of answers that go on.
        kv_transfer_params: how another engine can fetch the first answer's prompt; None: it is not kept.
    """

    __slots__ = ("_wake", "answers", "fresh", "kv_transfer_params", "request_id", "sequences", "unfinished")

    def __init__(self, request_id: str, answers: Many[Answer], sequences: Many[Sequence]) -> None:
        self.request_id = request_id
        self.answers = answers
        self.sequences = sequences
        self.fresh: list[Answer] = []
        self.unfinished = len(answers)
        self.kv_transfer_params: dict[str, Any] | None = None
        self._wake: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Make a waiting `next` return."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def next(self) -> list[Answer]:
        """Wait until answers have new tokens, and return those answers, each once; empty: all have ended."""
        if not self.fresh and self.unfinished:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        fresh, self.fresh = self.fresh, []
        return fresh if len(fresh) == 1 else list(dict.fromkeys(fresh))


class SimCore:
    """A running simulation.

    Args:
        spec: its timing and memory.
        events: delivers its KV events.
        drafting: drafts tokens; None: nothing does.
        offload: what is kept of blocks that leave the device.

    Attributes:
        spec: its timing and memory.
        events: delivers its KV events.
        scheduler: its batch, queue and cache.
        vocabulary: the texts of the token ids seen so far.
        totals: its totals for `/metrics`.
        handoff: passes prompts from and to other engines; None: nothing does.
    """

    def __init__(
        self,
        spec: SimSpec,
        events: KvEventHub,
        adapter_slots: int = 0,
        drafting: Drafting | None = None,
        offload: OffloadSpec = NOTHING,
    ) -> None:
        self.spec = spec
        self.events = events
        self.vocabulary = SimVocabulary()
        events.token_texts = self.vocabulary
        tiers = SimTiers(spec, offload, events.emit)
        events.has_tiers = bool(tiers)
        self.scheduler = SimScheduler(spec, events, adapter_slots, drafting, tiers)
        self.totals = SimTotals()
        self.handoff: PromptHandoff | None = None
        self._working: dict[Sequence, tuple[Generation, Answer]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._due_s = 0.0

    @property
    def max_model_len(self) -> int:
        """Most tokens of a prompt with its answer: the capacity of the KV cache."""
        return self.spec.kv_blocks * self.spec.block_tokens

    @property
    def requests(self) -> int:
        """Sequences in its batch and its queue."""
        return self.scheduler.running + self.scheduler.waiting

    @property
    def alive(self) -> bool:
        """Whether the simulation runs."""
        return self._loop is not None

    def run(self) -> None:
        """Begin, on the current event loop."""
        self._loop = asyncio.get_running_loop()

    def halt(self) -> None:
        """Stop at once; requests under way end as aborted."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for generation in {id(entry[0]): entry[0] for entry in self._working.values()}.values():
            self.abort(generation)

    def stats(self) -> EngineStats:
        """Return the simulation's state now."""
        scheduler = self.scheduler
        return EngineStats(
            running=scheduler.running,
            waiting=scheduler.waiting,
            waiting_tokens=scheduler.waiting_tokens,
            kv_usage=scheduler.cache.usage,
            kv_capacity_tokens=self.max_model_len,
            prefill_tokens_per_s=scheduler.prefill_rate.per_s,
            decode_tokens_per_s=scheduler.decode_rate.per_s,
            step_tokens=MAX_BATCHED_TOKENS,
            speculation=scheduler.speculation.report() if scheduler.speculation is not None else None,
            steps=scheduler.steps.report(),
            fetches=scheduler.tiers.fetches.stats() if scheduler.tiers else None,
        )

    def submit(
        self,
        request_id: str,
        prompts: Many[SimPrompt],
        answers: Many[Answer],
        kv_transfer_params: Mapping[str, Any] | None = None,
    ) -> Generation:
        """Start generating the answers; the engine must be alive.

        Args:
            request_id: the id for `PromptSeen`.
            prompts: the request's prompts, each once; each gives a `PromptSeen`.
            answers: the answers to generate, each with its prompt.
            kv_transfer_params: what the request says of fetching or keeping its prompts; None: nothing.
        """
        if self.events:
            for prompt in prompts:
                units = prompt.units[: boundary(prompt.whole_tokens, prompt.units_per_token)]
                ids = token_ids(units, 0, prompt)
                self.vocabulary.learn(ids, units, 0, prompt)
                self.events.emit(PromptSeen(request_id, ids, adapter=prompt.adapter, cache_salt=prompt.salt))
        sequences = [Sequence(answer.prompt, self.spec.block_tokens) for answer in answers]
        generation = Generation(request_id, answers, sequences)
        for sequence, answer in zip(sequences, answers, strict=True):
            self._working[sequence] = (generation, answer)
            self.scheduler.add(sequence)
            if self.handoff is not None and kv_transfer_params:
                self.handoff.accept(sequence, f"{request_id}-{answer.index}", kv_transfer_params)
        self._go_on()
        return generation

    def fetch_ended(self, sequence: Sequence, *, has_come: bool) -> None:
        """Go on with a sequence whose prompt has been fetched; `has_come` is False: it is to be computed here."""
        self.scheduler.fetch_ended(sequence, has_come=has_come)
        self._go_on()

    def release(self, sequence: Sequence) -> None:
        """Free the blocks of a kept sequence."""
        self.scheduler.finish(sequence)
        self._go_on()

    def abort(self, generation: Generation) -> None:
        """End a request's unfinished answers at once; their places and blocks are free when this returns."""
        for sequence in generation.sequences:
            entry = self._working.pop(sequence, None)
            if entry is not None:
                if self.handoff is not None and sequence.is_fetch:
                    self.handoff.give_up(sequence)
                self.scheduler.finish(sequence)
                entry[1].finish_reason = "abort"
                self.totals.finished["abort"] += 1
                generation.fresh.append(entry[1])
        if generation.unfinished:
            generation.unfinished = 0
            self._emit_answers(generation)
        generation.wake()

    def reset_prefix_cache(self) -> bool:
        """Empty the prefix cache; return False, with no change, if requests hold blocks of it."""
        if not self.scheduler.cache.clear():
            return False
        self.scheduler.tiers.clear()
        self.events.emit(AllCleared())
        return True

    def _go_on(self) -> None:
        if self._timer is None and self._loop is not None:
            # At the loop's next turn, so that requests that arrive together begin together.
            self._due_s = self._loop.time()
            self._timer = self._loop.call_soon(self._begin_step)

    def _begin_step(self) -> None:
        step_s = self.scheduler.begin_step()
        if self.handoff is not None:
            for sequence in self.scheduler.take_to_fetch():
                self.handoff.fetch(sequence)
        for sequence, load_s in self.scheduler.take_to_load():
            if self._loop is not None:
                self._loop.call_later(load_s, self._loaded, sequence)
        if step_s is None or self._loop is None:
            self._timer = None
            return
        self._due_s = max(self._due_s, self._loop.time() - MAX_LAG_S) + step_s
        self._timer = self._loop.call_at(self._due_s, self._end_step)

    def _loaded(self, sequence: Sequence) -> None:
        self.scheduler.load_ended(sequence)
        self._go_on()

    def _end_step(self) -> None:
        for sequence in self.scheduler.end_step():
            self._sample(sequence)
        self._begin_step()

    def _sample(self, sequence: Sequence) -> None:
        generation, answer = self._working[sequence]
        if not answer.tokens:
            self.totals.prompt_tokens += sequence.prompt.tokens
            self.totals.cached_tokens += (sequence.cached_tokens or 0) - sequence.fetched_tokens
            self.totals.fetched_tokens += sequence.fetched_tokens
        for _ in range(1 + self.scheduler.accepted(sequence)):
            units = answer.sample(sequence.tail(TAIL_CHARS))
            self.totals.generated_tokens += 1
            if answer.finish_reason is None and not self.scheduler.append(sequence, units):
                answer.finish_reason = "length"
            if answer.finish_reason is not None:
                break
        if answer.finish_reason is not None:
            self._leave(sequence, generation)
            del self._working[sequence]
            generation.unfinished -= 1
            self.totals.finished[answer.finish_reason] += 1
            if not generation.unfinished:
                self._emit_answers(generation)
        generation.fresh.append(answer)
        generation.wake()

    def _leave(self, sequence: Sequence, generation: Generation) -> None:
        if self.handoff is not None and sequence.keep_as and self.scheduler.keep(sequence):
            params = self.handoff.keep(sequence)
            generation.kv_transfer_params = generation.kv_transfer_params or params
        else:
            self.scheduler.finish(sequence)

    def _emit_answers(self, generation: Generation) -> None:
        if not self.events:
            return
        prompt = generation.answers[0].prompt
        start = prompt.whole_tokens
        texts, ids = [], []
        for answer, sequence in zip(generation.answers, generation.sequences, strict=True):
            if answer.prompt is prompt:
                texts.append(answer.text)
                units = sequence.since(boundary(start, prompt.units_per_token))
                ids.append(token_ids(units, start, prompt))
                self.vocabulary.learn(ids[-1], units, start, prompt)
        self.events.emit(AnswerSeen(generation.request_id, tuple(texts), tuple(ids)))
