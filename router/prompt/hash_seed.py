"""The seed of a cluster's prompt hashes, derived from the secret that its gateways and replicas share."""

from hashlib import sha256

from router.prompt.cut import CUT_VERSION

_DOMAIN = b"rackserve prompt hashes v%d\0" % CUT_VERSION
"""Processes that cut prompts differently get different seeds, so that they agree on no chunk rather than on some."""


def hash_seed(credential: str) -> int:
    """Return the 64-bit seed for `ChunkHasher`: the same for every process with the same cluster credential.

    The credential cannot be computed from the seed, nor from hashes made with it. An empty credential gives a seed too,
    for a gateway that runs alone; anyone can compute that one and choose prompts that collide.
    """
    return int.from_bytes(sha256(_DOMAIN + credential.encode()).digest()[:8], "big")
