"""Images in chats: each becomes a text of the length that its tokens have, the same for the same bytes."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from deployments.engines.media.fetcher import bytes_of_data_url
from deployments.engines.media.refused import MediaRefusedError
from deployments.engines.sim.api.chat_template import ContentPart, Message
from deployments.engines.sim.api.errors import bad_request
from deployments.engines.sim.api.served_model import ServedModel

IMAGE_PARTS: Final = ("image_url", "input_image")
"""Types of parts that are images: of chats, and of `/v1/responses`."""
_MEDIA_PARTS: Final = {"input_audio": "audio", "audio_url": "audio", "video_url": "video"}
_MAGIC: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
"""How files of images begin: PNG, JPEG, GIF, BMP, WebP."""


async def with_images_as_text(messages: list[Message], served: ServedModel) -> list[Message]:
    """Return a chat whose images are texts; of a text model the same chat, whose images are refused later.

    Raises:
        RequestError: an image is refused, or cannot be had.
    """
    if not served.sim.image_tokens:
        return messages
    media = list(_media_of(messages))
    if not media:
        return messages
    _check(media, served.spec.media.max_items)
    return [await _read(message, served) for message in messages]


def _media_of(messages: Iterable[Message]) -> Iterable[str]:
    for message in messages:
        for part in message.content if isinstance(message.content, list) else ():
            if part.type in IMAGE_PARTS:
                yield "image"
            elif part.type in _MEDIA_PARTS:
                yield _MEDIA_PARTS[part.type]


def _check(media: list[str], most: int) -> None:
    for kind, limit in (("image", most), ("audio", 0), ("video", 0)):
        if media.count(kind) > limit:
            raise bad_request(f"At most {limit} {kind}(s) may be provided in one prompt. (parameter={kind})", kind)


async def _read(message: Message, served: ServedModel) -> Message:
    if not isinstance(message.content, list):
        return message
    parts = [
        ContentPart("text", await _text_of(part.image_url, served)) if part.type in IMAGE_PARTS else part
        for part in message.content
    ]
    return Message(message.role, parts, message.tool_calls, reasoning=message.thought)


async def _text_of(given: Any, served: ServedModel) -> str:  # noqa: ANN401 - any JSON
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        return ""  # as vLLM passes over a part without its content
    fetcher = served.fetcher
    try:
        if url[:5].lower() == "data:":
            fetcher.check_size(url)
            found = bytes_of_data_url(url)
        else:
            found = await fetcher.fetch(url)
    except MediaRefusedError as error:
        raise bad_request(str(error)) from error
    if not found.startswith(_MAGIC):
        raise bad_request("Failed to load image: cannot identify image file")
    length = round(served.sim.image_tokens * served.sim.chars_per_token)
    digest = sha256(found).hexdigest()
    return (digest * (length // len(digest) + 1))[:length]
