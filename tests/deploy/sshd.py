"""A real sshd on loopback, with keys, known hosts, config and HOME of its own; a proxy that cuts its lines.

Debian's openssh-server is enough; no service, account or setting of the machine is touched.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin") or ""
MISSING = (
    ""
    if SSHD and shutil.which("ssh")
    else "sshd is not installed (apt install openssh-server openssh-client)"
)
ALIAS = "jetpress-test-device"  # the host key belongs to this name, whatever port it is reached through


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(path: Path) -> str:
    """Make a key pair; return the public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@dataclass
class Server:
    """A running sshd: connect to ``name``, with JETPRESS_SSH_CONFIG set to ``config``."""

    root: Path
    port: int
    environment: Mapping[str, str]
    user: str = field(default_factory=getpass.getuser)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def config(self) -> Path:
        return self.root / "ssh_config"

    @property
    def name(self) -> str:
        return self.at(self.port)

    def at(self, port: int) -> str:
        return f"{self.user}@127.0.0.1:{port}"

    def write_files(self) -> None:
        self.home.mkdir(parents=True)
        host_key = keygen(self.root / "host_key")
        (self.root / "authorized_keys").write_text(keygen(self.root / "client_key") + "\n")
        self.trust(host_key)
        (self.root / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {self.root}/host_key\n"
            f"AuthorizedKeysFile {self.root}/authorized_keys\n"
            f"PidFile {self.root}/pid\n"
            "AuthenticationMethods publickey\n"
            "PermitRootLogin prohibit-password\n"
            "StrictModes no\nUsePAM no\nPrintMotd no\nMaxStartups 100\n"
            "SetEnv "
            + " ".join(f'"{k}={v}"' for k, v in {"HOME": self.home, **self.environment}.items())
            + "\n"
        )
        self.config.write_text(
            "Host *\n"
            f"  IdentityFile {self.root}/client_key\n"
            f"  UserKnownHostsFile {self.root}/known_hosts\n"
            f"  HostKeyAlias {ALIAS}\n"
            "  GlobalKnownHostsFile /dev/null\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        )

    def trust(self, host_key: str) -> None:
        """Let known_hosts hold this key for the server."""
        (self.root / "known_hosts").write_text(f"{ALIAS} {host_key}\n")


@contextmanager
def running(root: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """An sshd that ends, with all its sessions, with the block."""
    server = Server(root, free_port(), environment or {})
    server.write_files()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(
            mode=0o755, exist_ok=True
        )  # where it drops its privileges to; a service makes it
    log = (root / "log").open("wb")
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(root / "sshd_config")], stderr=log, start_new_session=True
    )
    try:
        _wait_for(server.port, process, root / "log")
        yield server
    finally:
        process.terminate()
        process.wait(5)
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"sshd did not start: {log.read_text()}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("sshd does not answer")


class Cutter:
    """A proxy in front of ``port``: cuts each connection after a scripted number of bytes to the device.

    ``script`` has one number for each connection in turn; after its end connections live on.
    ``delay`` slows every piece down; at the offsets of ``corrupt``, one a connection, a bit is turned.
    With ``out`` set, connections are refused: an outage.
    """

    def __init__(self, port: int, script: list[int], delay: float = 0.0, corrupt: Sequence[int] = ()) -> None:
        self.target, self.script, self.delay, self.corrupt = port, list(script), delay, list(corrupt)
        self.sent = self.cuts = self.corrupted = 0
        self.connections: list[int] = []
        """Bytes that went to the device through each."""
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self.out = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Cutter:
        return self

    def __exit__(self, *_: object) -> None:
        self.out = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Cut the connections that are open now."""
        ends, self._open = self._open, []
        self.cuts += bool(ends)
        for pair in ends:
            _close(*pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.out:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            left = self.script.pop(0) if self.script else None
            turn = self.corrupt.pop(0) if self.corrupt else None
            self._open.append((client, server))
            self.connections.append(0)
            threading.Thread(target=self._up, args=(client, server, left, turn), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, left: int | None, turn: int | None) -> None:
        number = len(self.connections) - 1
        with suppress(OSError):
            while chunk := client.recv(16384):
                if self.delay:
                    time.sleep(self.delay)
                piece = bytearray(chunk if left is None else chunk[:left])
                at = self.connections[number]
                if turn is not None and at <= turn < at + len(piece):
                    piece[turn - at] ^= 1
                    self.corrupted += 1
                server.sendall(piece)
                self.sent += len(piece)
                self.connections[number] += len(piece)
                if left is not None:
                    left -= len(piece)
                    if left <= 0:
                        self.cuts += 1
                        break
        _close(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while chunk := server.recv(16384):
                client.sendall(chunk)
        _close(client, server)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
