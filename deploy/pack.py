"""Packs ``deploy/runner`` into ``runner.pyz``: one file, always the same bytes, for any Python from 3.6.

``python -m jetpress.deploy.pack runner.pyz`` does it by hand.
"""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

READS = ("runner/**/*.py", "runner/*.json")
LAUNCHER = """import os
import sys

from runner.__main__ import main

sys.exit(main(home=os.path.dirname(os.path.abspath(sys.argv[0]))))
"""
EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(destination: Path) -> None:
    """Write the runner to ``destination``: stored, not compressed, so that no zlib version changes a byte."""
    entries = {"__main__.py": LAUNCHER.encode()}
    here = Path(__file__).parent
    for path in (path for pattern in READS for path in here.glob(pattern)):
        entries[path.relative_to(here).as_posix()] = path.read_bytes()
    with destination.open("wb") as target:
        target.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(entries):
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.create_system = 3
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, entries[name])
        target.flush()
        os.fsync(target.fileno())
    destination.chmod(0o755)


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
