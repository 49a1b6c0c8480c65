"""Which board this is, from the files that name it. Raw lines: an unknown board is described, not guessed."""

import os
import re
import subprocess
from typing import Dict, List, Optional, Sequence

RECORDED = (
    "JETPRESS_BOARD"  # a folder with the files of a recorded board: for tests, and to look into a report
)


class Board:
    """A board seen through its file system; `root` (or $JETPRESS_BOARD) shows a recorded one."""

    def __init__(self, root: str = "") -> None:
        self.root = root or os.environ.get(RECORDED, "/")

    def path(self, *parts: str) -> str:
        """A file of the board."""
        return os.path.join(self.root, *parts)

    def read(self, *parts: str) -> Optional[str]:
        """A small text file without its line end (the device tree ends in NUL), or None."""
        try:
            with open(self.path(*parts), "rb") as source:
                return source.read(65536).decode("utf-8", "replace").strip("\0 \t\r\n")
        except OSError:
            return None

    def number(self, *parts: str) -> Optional[float]:
        """A file that holds one number, or None."""
        text = self.read(*parts)
        try:
            return float(text) if text else None
        except ValueError:
            return None

    def identity(self) -> Dict[str, object]:
        """Model, L4T and JetPack as the board says them; all None on a host that is no Jetson."""
        compatible = self.read("proc/device-tree/compatible")
        release = self.read("etc/nv_tegra_release")
        return {
            "model": self.read("proc/device-tree/model"),
            "compatible": compatible.split("\0") if compatible else None,
            "l4t": release.splitlines()[0] if release else None,
            "jetpack": self._package("nvidia-jetpack"),
            "l4t_core": self._package("nvidia-l4t-core"),
        }

    def part(self) -> Optional[str]:
        """NVIDIA's part number of the module, whatever carrier board it sits on; None where there is none."""
        return part_number((self.read("proc/device-tree/compatible") or "").split("\0"))

    def _package(self, name: str) -> Optional[str]:
        """The installed version of a Debian package, from dpkg's own list."""
        for paragraph in self._paragraphs(name):
            for line in paragraph.splitlines():
                if line.startswith("Version:"):
                    return line.split(":", 1)[1].strip()
        return None

    def _paragraphs(self, name: str) -> List[str]:
        try:
            with open(self.path("var/lib/dpkg/status"), encoding="utf-8", errors="replace") as source:
                text = source.read(64 << 20)
        except OSError:
            return []
        return [
            part
            for part in text.split("\n\n")
            if part.startswith("Package: %s\n" % name) and "ok installed" in part
        ]

    def power_mode(self) -> Optional[str]:
        """What `nvpmodel -q` says (`25W`, `MAXN`); None where there is no nvpmodel."""
        if self.root != "/":
            return None
        try:
            done = subprocess.run(
                ["nvpmodel", "-q"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10
            )  # noqa: S607
        except (OSError, subprocess.SubprocessError):
            return None
        return mode_name(done.stdout.decode("utf-8", "replace"))


def part_number(compatible: Sequence[str]) -> Optional[str]:
    """`p3767-0003` out of `nvidia,p3768-0000+p3767-0003`: the carrier board comes first, the module last."""
    for entry in sorted(compatible, key=lambda entry: "+" not in entry):
        parts = re.findall(r"p\d{4}-\d{4}", entry)
        if parts:
            return str(parts[-1])
    return None


def mode_name(text: str) -> Optional[str]:
    """The mode in the output of `nvpmodel -q`, whatever warnings stand around it."""
    for line in text.splitlines():
        if "NV Power Mode:" in line:
            return line.split(":", 1)[1].strip() or None
    return None
