"""Web servers on this machine that serve one file, well or badly, or anything at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, BaseServer, ThreadingTCPServer


class ModelServer(ThreadingHTTPServer):
    """Serves ``content`` at every address.

    Attributes:
        ranges: what it was asked for, in order: the Range header, or "".
        cut_after: bytes after which each connection ends, or None.
        knows_ranges: whether it answers 206.
        status: refuses with this code instead.
        pause: seconds to wait after each 16 kB.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges = content, []
        self.cut_after, self.knows_ranges, self.status, self.pause = None, True, 200, 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.safetensors"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.knows_ranges else 0
        if self.server.status != 200 or start >= len(self.server.content):
            self.send_error(self.server.status if self.server.status != 200 else 416)
            return
        size, body = len(self.server.content), self.server.content[start:]
        self.send_response(206 if asked and self.server.knows_ranges else 200)
        if asked and self.server.knows_ranges:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body[:self.server.cut_after]), 1 << 14):
            self.wfile.write(body[:self.server.cut_after][at:at + (1 << 14)])
            self.wfile.flush()
            time.sleep(self.server.pause)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[ModelServer]:
    with ModelServer(content) as server, _answering_in_a_thread(server):
        yield server


@contextmanager
def _answering_in_a_thread(server: BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


class _RawHandler(BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, RawServer)
        asked = b""
        while b"\r\n\r\n" not in asked and (piece := self.request.recv(1 << 16)):
            asked += piece
        server.asked.append(asked.decode("latin-1"))
        answer = server.answers[min(len(server.asked), len(server.answers)) - 1]
        pieces = [answer] if isinstance(answer, bytes) else answer
        with suppress(OSError):  # whoever asked may have had enough
            for piece in pieces:
                self.request.sendall(piece)
                server.sent += len(piece)


class RawServer(ThreadingTCPServer):
    """Answers each connection with the next of some bytes, the last ones over and over; an answer may have no end.

    Attributes:
        asked: the requests, in order.
        sent: bytes.
    """

    daemon_threads = allow_reuse_address = True

    def __init__(self, answers: Sequence[bytes | Iterable[bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _RawHandler)
        self.answers, self.asked, self.sent = answers, list[str](), 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/model"


@contextmanager
def answering(*answers: bytes | Iterable[bytes]) -> Iterator[RawServer]:
    with RawServer(answers) as server, _answering_in_a_thread(server):
        yield server
