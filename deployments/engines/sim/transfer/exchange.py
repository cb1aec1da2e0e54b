"""Hands prompts to other simulated engines and fetches prompts from them, as vLLM's NIXL connector does.

The engine that computes keeps a prompt's blocks until another has read them, or its lease is over. The engine that
fetches renews the lease from the request's arrival on, begins to read when it has room, and tells the other when it is
through. A prompt that cannot be had is computed where it is wanted (vLLM's `kv_load_failure_policy: recompute`).
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from math import ceil
from typing import Any, Final
from uuid import uuid4

import structlog

from deployments.engines.remote_prompt import RemotePrompt, is_to_be_fetched, is_to_be_kept, remote_prompt
from deployments.engines.sim.generation.core import SimCore
from deployments.engines.sim.generation.sequence import Sequence
from deployments.engines.sim.transfer.figures import TransferFigures
from deployments.engines.sim.transfer.kept_prompts import KeptPrompts
from deployments.engines.sim.transfer.side_channel import SideChannel, SideChannelError, SideChannelServer

HEARTBEATS: Final = 6
"""Heartbeats within a lease, as in vLLM."""

log = structlog.get_logger(__name__)


class KvExchange:
    """Implements `generation.handoff.PromptHandoff` between engines over TCP.

    Args:
        core: the simulation, whose `handoff` this becomes.
        host: the address of this machine, as other engines reach it.

    Attributes:
        engine_id: the id of this life of this engine.
        figures: what has been transferred so far.
    """

    def __init__(self, core: SimCore, host: str) -> None:
        core.handoff = self
        self.engine_id = uuid4().hex
        self.figures = TransferFigures()
        self._core = core
        self._host = host
        self._kept = KeptPrompts(core.spec.transfer_lease_s)
        self._server = SideChannelServer(host, self._answer)
        self._turns: dict[Sequence, asyncio.Event] = {}
        self._fetches: dict[Sequence, tuple[RemotePrompt, asyncio.Task[None]]] = {}
        self._notices: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def kept(self) -> int:
        """Number of prompts kept for other engines."""
        return len(self._kept)

    @property
    def waiting_to_fetch(self) -> int:
        """Number of requests whose prompts are to be fetched when there is room."""
        return sum(not turn.is_set() for turn in self._turns.values())

    async def open(self) -> None:
        """Open the side channel."""
        await self._server.open()

    async def close(self) -> None:
        """Close the side channel and end all fetches. Safe to call twice."""
        self._server.close()
        if self._expiry is not None:
            self._expiry.cancel()
        tasks = [*(task for _, task in self._fetches.values()), *self._notices]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def accept(self, sequence: Sequence, sequence_id: str, params: Mapping[str, Any]) -> None:
        """Set `is_fetch` or `keep_as` of a new sequence, as the `kv_transfer_params` of its request say."""
        if is_to_be_kept(params):
            sequence.keep_as = f"{sequence_id}-{uuid4().hex[:8]}"
        prompt = remote_prompt(params)
        if prompt is not None and prompt.is_of(sequence.prompt.tokens, self._core.spec.block_tokens):
            sequence.is_fetch = True
            self._turns[sequence] = asyncio.Event()
            task = asyncio.ensure_future(self._fetch(sequence, prompt))
            self._fetches[sequence] = (prompt, task)
            task.add_done_callback(lambda _: self._forget(sequence))
        elif is_to_be_fetched(params):
            log.warning("wrong kv_transfer_params; the prompt is computed here", request=sequence_id)
            self.refused(params)

    def fetch(self, sequence: Sequence) -> None:
        """Begin to read a prompt, whose blocks have been taken."""
        self._turns[sequence].set()

    def keep(self, sequence: Sequence) -> dict[str, Any]:
        """Begin a lease on an ended sequence; return the `kv_transfer_params` for whoever fetches its prompt."""
        self._kept.keep(sequence, asyncio.get_running_loop().time())
        self._expire()
        prompt_blocks = ceil(sequence.prompt.tokens / self._core.spec.block_tokens)
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            # Blocks have no ids here; their number is what vLLM's list would show too.
            "remote_block_ids": [list(range(prompt_blocks))],
            "remote_engine_id": self.engine_id,
            "remote_request_id": sequence.keep_as,
            "remote_host": self._host,
            "remote_port": self._server.port,
            "tp_size": 1,
            "dcp_size": 1,
            "pp_size": 1,
            "remote_num_tokens": sequence.prompt.tokens,
            "remote_blocks_expiry_time": None,
            "transfer_mode": "pull",
            "remote_prefill_cached_tokens": sequence.cached_tokens,
        }

    def give_up(self, sequence: Sequence) -> None:
        """End the fetch of an aborted sequence, and have the other engine free its blocks."""
        prompt, task = self._fetches[sequence]
        task.cancel()
        self._notify(_free(prompt))

    def refused(self, params: Mapping[str, Any]) -> None:
        """Have the other engine free the blocks of a prompt whose request is refused here."""
        prompt = remote_prompt(params)
        if prompt is not None:
            self._notify(_free(prompt))

    def _notify(self, notice: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(notice)
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    def _answer(self, ask: str, engine_id: str, request_id: str) -> str:
        if engine_id != self.engine_id:
            return f"this is engine {self.engine_id}, not {engine_id}"
        if ask == "free":
            sequence = self._kept.take(request_id)
            if sequence is not None:
                self._core.release(sequence)
                return ""
            self.figures.late += 1
        elif self._kept.extend(request_id, asyncio.get_running_loop().time()):
            return ""
        return f"the prompt of request {request_id} is not kept, or not any more"

    def _expire(self) -> None:
        """Free what nobody has fetched in time, and look again when the next lease ends."""
        loop = asyncio.get_running_loop()
        for sequence in self._kept.take_expired(loop.time()):
            self.figures.expired += 1
            self._core.release(sequence)
        if self._expiry is not None:
            self._expiry.cancel()
        next_s = self._kept.next_end_s()
        self._expiry = None if next_s is None else loop.call_at(next_s, self._expire)

    async def _fetch(self, sequence: Sequence, prompt: RemotePrompt) -> None:
        try:
            await self._read(sequence, prompt)
        except SideChannelError as error:
            self.figures.failed += 1
            log.warning("prompt not fetched; it is computed here", request=prompt.request_id, reason=str(error))
            self._core.fetch_ended(sequence, has_come=False)
        else:
            sequence.cached_elsewhere = prompt.cached_tokens
            self._core.fetch_ended(sequence, has_come=True)

    def _forget(self, sequence: Sequence) -> None:
        del self._fetches[sequence], self._turns[sequence]

    async def _read(self, sequence: Sequence, prompt: RemotePrompt) -> None:
        """Wait for room, then read a prompt's blocks, and have the other engine free them.

        Raises:
            SideChannelError: the other engine is gone, or the prompt's lease was over.
        """
        spec = self._core.spec
        channel = await SideChannel.to(prompt)
        try:
            await self._hold_until(channel, self._turns[sequence].wait())
            await channel.ask("read")
            blocks = ceil(sequence.target_tokens / spec.block_tokens) - sequence.computed_tokens // spec.block_tokens
            kv_bytes = blocks * spec.block_tokens * spec.kv_bytes_per_token
            transfer_s = kv_bytes / spec.transfer_bytes_per_s
            await self._hold_until(channel, asyncio.sleep(transfer_s))
            await channel.ask("free")
        finally:
            channel.close()
        self.figures.seconds.add(transfer_s)
        self.figures.bytes.add(kv_bytes)

    async def _hold_until(self, channel: SideChannel, end: Coroutine[Any, Any, object]) -> None:
        """Renew the lease until `end` has ended.

        Raises:
            SideChannelError: the other engine is gone, or the lease was over.
        """
        waiting = asyncio.ensure_future(end)
        try:
            while True:
                await channel.ask("hold")
                await asyncio.wait({waiting}, timeout=self._core.spec.transfer_lease_s / HEARTBEATS)
                if waiting.done():
                    return
        finally:
            waiting.cancel()


async def _free(prompt: RemotePrompt) -> None:
    with suppress(SideChannelError):  # it is gone, or its lease was over: there is nothing left to free
        channel = await SideChannel.to(prompt)
        try:
            await channel.ask("free")
        finally:
            channel.close()
