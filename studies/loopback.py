"""A recipe with its engine built, fed and timed over SSH: a real sshd on loopback stands for the board.

    python -m studies.loopback RECIPE [--set KEY=VALUE ...]

Whatever follows goes to ``jetpress run RECIPE --target host --device user@127.0.0.1:PORT``. The engine's own figure in
the report is of outputs that came back over SSH.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.deploy import sshd


def main(words: list[str]) -> int:
    """The exit code of the run."""
    environment = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
    environment["PATH"] = (
        f"{Path(sys.executable).parent}:{environment['PATH']}"  # where python3 has ONNX Runtime
    )
    with tempfile.TemporaryDirectory() as folder, sshd.running(Path(folder) / "sshd", environment) as board:
        command = [
            sys.executable,
            "-m",
            "jetpress",
            "run",
            *words,
            "--target",
            "host",
            "--device",
            board.name,
        ]
        known = {**os.environ, "JETPRESS_SSH_CONFIG": str(board.config)}
        return subprocess.run(command, env=known, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
