"""What the end of each API's stream has, by which a whole stream is told from the first part of one."""

import re

from router.http.api.answers.resume import CHAT, COMPLETIONS
from router.http.api.errors import MESSAGES, RESPONSES

_ENDS = {
    **dict.fromkeys((CHAT, COMPLETIONS), re.compile(rb'\[DONE\]|"finish_reason"\s*:\s*"|"error"')),
    MESSAGES.decode(): re.compile(rb'"message_stop"|"error"'),
    RESPONSES.decode(): re.compile(rb'"response\.(?:completed|incomplete|failed|cancelled)"|"error"'),
}


def lacks_end(path: str, tail: bytes) -> bool:
    """Return whether what came of a stream is known to lack its end; False for APIs whose streams have none.

    Args:
        path: the request's path.
        tail: the end of what came.
    """
    end = _ENDS.get(path)
    return end is not None and end.search(tail) is None
