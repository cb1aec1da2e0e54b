"""A replica that caches no prompt, as its self-test has shown: no chunk is ever claimed for it."""

from router.prompt.chunk_chain import ChunkChain


class UncachedReplica:
    """Claims nothing: every prompt sent there is expected to be prefilled whole."""

    def sent(self, chain: ChunkChain, held: int, now_s: float) -> int:
        """Claim nothing; return 0."""
        del chain, held, now_s
        return 0

    def prefilled(self, prompt: int, now_s: float) -> None:
        """Do nothing."""

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """Do nothing: nothing was claimed."""

    def answered(self, answer: ChunkChain) -> None:
        """Claim nothing."""

    def resize(self, kv_bytes: int) -> None:
        """Do nothing: there are no claims to age."""

    def tick(self, now_s: float) -> None:
        """Do nothing."""

    def check_integrity(self) -> None:
        """Do nothing: there is no state to check."""
