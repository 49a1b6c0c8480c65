"""serve: a local page with the camera's picture, what the engine finds in it, and how fast; it can only be looked at.

Bound to loopback unless it is told otherwise: who has no account on the board sees nothing. Through SSH:
`ssh -L 8000:localhost:8000 user@board`. Nothing is written and nothing is taken in: only GET, of three paths.
"""

import json
import pkgutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Dict, NamedTuple

from ..backends import open_backend
from ..board.identity import Board
from ..board.sensors import Sensors
from ..engines.manifest import Bundle
from ..engines.stamp import open_engines
from ..system import clock
from ..system.events import emit, plain, tell
from ..system.failures import DeviceError
from .bench import Way, agrees
from .commands import Source, choose, source_of
from .frames import Streams
from .live import Live
from .picture import picture_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; "
POLICY += "script-src 'unsafe-inline'"


class Asked(NamedTuple):
    """What is shown, and where."""

    video: str
    decoder: str
    host: str
    port: int
    seconds: float  # at most; 0: until it is ended


class Server(ThreadingMixIn, HTTPServer):
    """A thread for each browser."""

    daemon_threads = True

    def __init__(self, asked: Asked, live: Live) -> None:
        self.live, self.loopback = live, asked.host in LOOPBACK
        self.address_family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
        try:
            HTTPServer.__init__(self, (asked.host, asked.port), Answer)
        except OSError as error:
            raise DeviceError(
                "port %d of %s cannot be had: %s" % (asked.port, asked.host, error.strerror),
                "another program may have it: --port with another number",
            )


class Answer(BaseHTTPRequestHandler):
    """Three paths to look at."""

    server: Server
    server_version, sys_version = "jetpress", ""

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        """The page, what it shows, and frames."""
        if self.server.loopback and not _local(self.headers.get("Host", "")):
            return self._send(403, "text/plain", b"only by the name of this machine itself\n")
        path, _, query = self.path.partition("?")
        if path == "/":
            return self._send(
                200, "text/html; charset=utf-8", pkgutil.get_data(__package__, "page.html") or b""
            )
        if path == "/state":
            text = json.dumps(plain(self.server.live.state()), allow_nan=False)
            return self._send(200, "application/json", text.encode("utf-8"))
        if path == "/frame.bmp" and query.isdigit():
            picture = self.server.live.bitmap(int(query[:12]))
            if picture is not None:
                return self._send(200, "image/bmp", picture)
        return self._send(404, "text/plain", b"there is nothing here\n")

    def _send(self, status: int, kind: str, body: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
                ("Content-Security-Policy", POLICY),
                ("X-Content-Type-Options", "nosniff"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the browser has gone

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Not a line for each frame."""


def _local(host: str) -> bool:
    """A page of somebody else's, whose name was made to lead here, is not answered."""
    return (host.rsplit(":", 1)[0] if not host.endswith("]") else host).strip("[]") in LOOPBACK


def run(bundle: Bundle, engines: str, asked: Asked) -> None:
    """Until Ctrl-C, or the source fails."""
    bundle.only_chosen()
    picture = picture_of(bundle)
    source = source_of(asked.video, real_time=True)
    decoder = choose(asked.decoder, source)
    ((name, session),) = open_engines(bundle, engines, open_backend(bundle.plan)).items()
    agrees(session, bundle.plan, name)
    way = Way(session, picture, bundle.plan)
    live = Live(_about(bundle, source), picture, Sensors(Board()))
    server = Server(asked, live)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        host, port = str(server.server_address[0]), int(server.server_address[1])
        url = "http://%s:%d/" % ("localhost" if host in LOOPBACK else host, port)
        emit("serving", url=url, model=name, source=source.name, loopback=server.loopback)
        tell("%s shows %s; Ctrl-C ends it" % (url, source.name))
        _show(way, live, decoder, source, asked.seconds)
    finally:
        server.shutdown()
        server.server_close()


def _about(bundle: Bundle, source: Source) -> Dict[str, Any]:
    classes = bundle.part("task").get("classes") or []
    return {"network": bundle.plan.get("name"), "source": source.name, "classes": classes}


def _show(way: Way, live: Live, decoder: str, source: Source, seconds: float) -> None:
    """A file is played again and again."""
    end = clock.seconds() + seconds if seconds else None
    while end is None or clock.seconds() < end:
        streams = Streams(decoder, [source], way.picture)
        try:
            through = way.through(streams, True, end)
            for turn in through:
                live.add(turn, streams.dropped())
        finally:
            streams.close()
