"""Small pictures, inline and at a server on loopback."""

import base64
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

RED, BLUE = (255, 0, 0), (0, 0, 255)
SIDE = 48


def png(colour: tuple[int, int, int]) -> bytes:
    """Return a picture of one colour as a PNG file."""
    return png_of(SIDE, (b"\0" + bytes(colour) * SIDE) * SIDE)


def png_of(side: int, lines: bytes) -> bytes:
    """Return a square picture as a PNG file.

    Args:
        side: pixels of a side.
        lines: for each line from the top a zero byte, and three bytes a pixel.
    """
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def inline(data: bytes) -> str:
    """Return a file as a `data:` URL."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def chat_about(*urls: str, text: str = "What is it?") -> list[dict[str, Any]]:
    """Return a chat of one message: a text and images."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]


class _Handler(BaseHTTPRequestHandler):
    files: ClassVar = {"/red.png": png(RED), "/blue.png": png(BLUE)}

    def do_GET(self) -> None:
        found = self.files.get(self.path)
        self.send_response(404 if found is None else 200)
        self.send_header("content-length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *_: object) -> None:
        pass


class PictureServer:
    """Serves `/red.png` and `/blue.png`.

    Attributes:
        port: where.
    """

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
