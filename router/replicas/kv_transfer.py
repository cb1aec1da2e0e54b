"""What a replica can send and receive of its KV cache, and which two replicas fit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KvTransfer:
    """How a replica hands computed prompts to other replicas, and takes theirs.

    Attributes:
        connector: name of the protocol between the engines, such as `NixlConnector`; only equal ones understand each
            other.
        sends: it computes prompts and keeps their blocks until another replica has fetched them.
        receives: it fetches the blocks of prompts that another replica computed.
        block_tokens: tokens in one KV block.
        layout: what else must be equal for one to read the other's blocks: model, precision, order of the dimensions;
            only compared.
        bytes_per_token: bytes of KV cache that one prompt token takes, to estimate a transfer; 0: not known.
        lease_s: seconds that blocks are kept for a replica that does not fetch them.
    """

    connector: str
    sends: bool
    receives: bool
    block_tokens: int
    layout: str = ""
    bytes_per_token: int = 0
    lease_s: float = 30.0

    def why_not_to(self, receiver: "KvTransfer") -> str:
        """Return why `receiver` cannot fetch what this replica computes; "": it can."""
        if not self.sends:
            return "the first keeps no blocks for others"
        if not receiver.receives:
            return "the second fetches no blocks"
        if self.connector != receiver.connector:
            return f"they speak different protocols: {self.connector} and {receiver.connector}"
        if self.block_tokens != receiver.block_tokens:
            return f"their KV blocks have {self.block_tokens} and {receiver.block_tokens} tokens"
        if self.layout != receiver.layout:
            return f"their KV blocks are laid out differently: {self.layout!r} and {receiver.layout!r}"
        return ""
