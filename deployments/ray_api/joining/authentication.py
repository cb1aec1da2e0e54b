"""Sets Ray's authentication in this process, so that it never depends on files or variables that another Ray left.

Ray 2.60 decides by itself: `ray start --head` and clusters found on this machine use a token where one exists
(`RAY_AUTH_TOKEN`, the file of `RAY_AUTH_TOKEN_PATH`, `~/.ray/auth_token`); `ray start --address` and given addresses
use none; a cluster of one process makes `~/.ray/auth_token`, which then counts for every later Ray of that user.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined] # Ray is untyped here

from cluster.ray_settings import TOKEN_FILE

MODE: Final = "RAY_AUTH_MODE"
_TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_PATH: Final = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - likewise
PLACES: Final = f"RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, ~/.ray/auth_token, or ~/{TOKEN_FILE}"
"""Where a token is looked for, in words."""


def settle_for_own_cluster() -> None:
    """Choose mode and token of a cluster that this process is about to start; what the environment says stays.

    The token is that of `~/.rackserve/ray_token`, made if it is missing, so that this user's other commands join. Where
    no file can be written, the token is in this process and its children alone.
    """
    if MODE in os.environ:
        return
    if not (os.environ.get(_TOKEN) or os.environ.get(_TOKEN_PATH)):
        try:
            os.environ[_TOKEN_PATH] = str(_kept_token())
        except OSError:
            os.environ[_TOKEN] = secrets.token_hex(32)
    _settle("token")


def tokens() -> Iterator[str]:
    """Yield the tokens that exist here, each once: first Ray's own, then that of our launches."""
    ours = ""
    with suppress(OSError, UnicodeError):
        ours = _file().read_text(encoding="ascii").strip()
    rays = None
    with suppress(Exception):  # AuthenticationError and others, when a file cannot be read
        rays = AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True)
    yield from dict.fromkeys(token for token in (rays, ours) if token)


def use_token(token: str) -> None:
    """Have this process and its children join with `token`; "": without one."""
    if os.environ.get("RAY_ENABLE_K8S_TOKEN_AUTH"):
        return  # Kubernetes' own tokens: their operator sets all of it
    if token:
        os.environ[_TOKEN] = token
    _settle("token" if token else "disabled")


def _settle(mode: str) -> None:
    os.environ[MODE] = mode
    Config.initialize("")  # Ray keeps what it read of the environment at its import
    AuthenticationTokenLoader.instance().reset_cache()


def _file() -> Path:
    return Path("~", TOKEN_FILE).expanduser()


def _kept_token() -> Path:
    """Return the file with the token; makes it if it is missing.

    Raises:
        OSError: there is none, and none can be written.
    """
    path = _file()
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        try:
            with suppress(FileExistsError):
                os.link(draft, path)  # complete at once, and the first of two that start together wins
        finally:
            draft.unlink()
    if not os.access(path, os.R_OK):
        raise PermissionError(path)
    return path
