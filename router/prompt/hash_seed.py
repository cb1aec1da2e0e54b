"""The seed of a cluster's prompt hashes, from the secret its gateways and replicas share."""

from hashlib import sha256

_DOMAIN = b"rackserve prompt hashes v1\0"


def hash_seed(credential: str) -> int:
    """Return the seed for `ChunkHasher`: 64 bits, the same for all who know the cluster's credential.

    The credential cannot be found out from it, nor from hashes made with it. An empty credential gives a seed too: a
    gateway alone shares its hashes with nobody, but anyone can choose prompts that collide there.
    """
    return int.from_bytes(sha256(_DOMAIN + credential.encode()).digest()[:8], "big")
