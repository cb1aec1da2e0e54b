"""Why an image, audio or video is not taken."""

from enum import StrEnum


class MediaRefusal(StrEnum):
    """The kinds of reasons, as metrics name them."""

    DOMAIN = "domain"
    """The cluster file does not allow its host."""
    ADDRESS = "address"
    """Its host has an address that is not public."""
    URL = "url"
    """Its URL is none that is understood: another scheme, a host in an odd spelling, a user's name."""
    REDIRECT = "redirect"
    """Its server sends on to somewhere that is refused, or too often."""
    SIZE = "size"
    """It has too many bytes."""
    ANSWER = "answer"
    """Its server answered with an error, or with nothing that can be read."""
    UNREACHABLE = "unreachable"
    """Its server cannot be found or reached."""
    TIME = "time"
    """It was not there in time."""


class MediaRefusedError(ValueError):
    """The item is not taken; the message is for the client. vLLM answers a ValueError with 400.

    Args:
        reason: the kind of reason.
        message: what is wrong, and what would be right.
    """

    def __init__(self, reason: MediaRefusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason
