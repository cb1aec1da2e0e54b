"""What of images, audio and video a model's prompts may bring along, and from where."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from cluster.spec.parts.part import Part, Seconds

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?=[a-z0-9-]*[a-z])(?!0x){_LABEL}(?::[1-9]\d{{0,4}})?")
"""A host's name in lower case, for its subdomains with `*.` before it, perhaps with a port.

Its last label has a letter, so that it is no address in any spelling."""


class MediaSpec(Part):
    """What media prompts may have. What comes inline, as a `data:` URL, needs no domain.

    Replicas fetch what comes by URL, and only from public addresses: a name that has a private, loopback or link-local
    address is refused, also where `domains` has it.

    Attributes:
        domains: hosts from which media may be fetched: `images.example.com`, `*.example.com` for all below it,
            `cdn.example.com:8443` for a port other than 80 and 443. None: media by URL are refused.
        max_bytes: bytes of one item above which it is refused, as it is sent: inline before base64.
        max_items: images of a prompt above which it is refused; the same for audio and for video.
        timeout_s: seconds in which one item must be there.
    """

    domains: tuple[str, ...] = ()
    max_bytes: Annotated[int, Field(ge=1)] = 20 * 1024 * 1024
    max_items: Annotated[int, Field(ge=1, le=999)] = 16
    timeout_s: Seconds = 10.0

    @field_validator("domains")
    @classmethod
    def _domains_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for domain in value:
            if not DOMAIN.fullmatch(domain):
                raise ValueError(
                    f"{domain!r} is no domain: give a host's name in lower case, such as images.example.com, "
                    "*.example.com for all below it, or with a port; no address and no https://"
                )
        return value
