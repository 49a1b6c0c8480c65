"""Deploy a release to many real sshd on loopback, each with a home of its own: how long does it take, what is left?

    python -m studies.fleet [--devices 20] [--bad 2]

The first call has ``--bad`` devices whose disk cannot be written; the second one goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from jetpress.deploy.device import ssh
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.release import deploying, fleet, keys
from jetpress.deploy.release.sign import sign
from tests.deploy import sshd
from tests.deploy.runner_bundles import bundle

SLOTS = ".local/share/jetpress"


def main() -> int:
    """Start them, deploy twice."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--devices", type=int, default=20)
    options.add_argument("--bad", type=int, default=2)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        key = keys.make(folder / "key", "alice@example.com", has_passphrase=False)
        signers = folder / "allowed_signers"
        signers.write_text(key.line("alice@example.com") + "\n")
        release, _ = sign(bundle(folder / "bundle", threads=1), folder / "release", key, None, 30)
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        servers = [
            running.enter_context(sshd.running(folder / f"s{number}", {"PATH": path}))
            for number in range(given.devices)
        ]
        _one_config(folder / "config", servers)
        os.environ[ssh.CONFIG] = str(folder / "config")
        for server in servers[1 : 1 + given.bad]:
            (server.home / SLOTS).parent.mkdir(parents=True)
            (server.home / SLOTS).touch()  # a file where a folder is to be
        for call in range(2):
            _call(call, servers, release, folder, str(signers))
            for server in servers[1 : 1 + given.bad]:
                (server.home / SLOTS).unlink(missing_ok=True) if call == 0 else None
    return 0


def _call(call: int, servers: list[sshd.Server], release: Path, folder: Path, signers: str) -> None:
    def act(name: str) -> str:
        device = open_device(name)
        try:
            return f"slot {deploying.deploy(device, release, deploying.Terms(signers=signers)).number}"
        finally:
            device.close()

    started = time.monotonic()
    done = fleet.roll_out([one.name for one in servers], act, fleet.Journal(folder / "journal"), len(servers))
    serving = Counter((one.home / SLOTS / "toy/current/engines/engine.json").is_file() for one in servers)
    told = {"call": call, "seconds": round(time.monotonic() - started, 1), "serve": serving[True]}
    told |= {state: done.count(state) for state in fleet.STATES}
    print("\n".join(fleet.table(done)), file=sys.stderr)
    print(json.dumps(told))


def _one_config(path: Path, servers: list[sshd.Server]) -> None:
    """One file for all of them: keys and known hosts by port."""
    parts = []
    for server in servers:
        lines = server.config.read_text().splitlines()[1:]
        parts.append("\n".join([f'Match host 127.0.0.1 exec "test %p = {server.port}"', *lines]))
    path.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    sys.exit(main())
