"""Simulates the links over which KV blocks go from one replica to another."""

from cluster.replica_cost.communication import LINK_SHARE
from cluster.replica_cost.hardware import Accelerator

HANDLING_S = 0.005
"""Seconds of a transfer beyond its bytes: the second leg's way through the gateway and the receiver's scheduler. Our
choice."""


class KvLinks:
    """All replicas' links: one transfer at a time goes out of a replica, and one comes into it.

    Inside an NVLink domain a replica sends over its GPUs' links, elsewhere over their network cards; both reach
    `LINK_SHARE` of their peak.

    Args:
        hardware: kind of GPU.
        gpus: GPUs of a replica, each of which sends its share.
        kv_bytes_per_token: bytes of KV cache of one token.
    """

    def __init__(self, hardware: Accelerator, gpus: int, kv_bytes_per_token: float) -> None:
        self._bytes_per_token = kv_bytes_per_token
        self._inside_bytes_per_s = hardware.link_bytes_per_s * gpus * LINK_SHARE
        self._outside_bytes_per_s = hardware.network_bytes_per_s * gpus * LINK_SHARE
        self._out_free_s: dict[str, float] = {}
        self._in_free_s: dict[str, float] = {}

    def transfer_s(self, tokens: int, *, inside: bool) -> float:
        """Return the seconds of a transfer of `tokens` tokens over free links, `inside` one domain or not."""
        bytes_per_s = self._inside_bytes_per_s if inside else self._outside_bytes_per_s
        return HANDLING_S + tokens * self._bytes_per_token / bytes_per_s

    def send(self, sender: str, receiver: str, tokens: int, now_s: float, *, inside: bool) -> float:
        """Begin a transfer as soon as both links are free; return the time at which it ends, seconds.

        Args:
            sender: id of the replica that has the blocks.
            receiver: id of the one that fetches them.
            tokens: tokens in these blocks.
            now_s: the time.
            inside: both are in one NVLink domain.
        """
        begin_s = max(now_s, self._out_free_s.get(sender, 0.0), self._in_free_s.get(receiver, 0.0))
        end_s = begin_s + self.transfer_s(tokens, inside=inside)
        self._out_free_s[sender] = self._in_free_s[receiver] = end_s - HANDLING_S
        return end_s
