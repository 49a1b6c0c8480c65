"""Cut the power of a virtual machine while it deploys: does it come back with the old or the new release, whole?

    python -m studies.power_cut --kernel vmlinuz --modules FOLDER --busybox FILE --python PREFIX [--points 200]

The guest is a Linux kernel with busybox, a Python 3.6 and `runner.pyz` in memory, and an ext4 disk of its own. It
deploys one release after another; the host kills qemu with SIGKILL after a random time, and starts it again on the same
disk. What the guest's kernel had not written is lost, as when a board loses power; what it had sent to the disk stays.
First thing after each start the guest says what serves, whether it is whole, and what `boot` makes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from jetpress.deploy.pack import pack

MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
)
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /data /tmp
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko 2>/dev/null; done
/bin/busybox mount -t ext4 /dev/vda /data || echo CUT {{\\"before\\": \\"the disk cannot be mounted\\"}}
export LD_LIBRARY_PATH=/lib PYTHONHOME=/python PYTHONDONTWRITEBYTECODE=1
exec /python/bin/python3.6 /guest.py
"""
BOOT_S = 240.0


def memory(folder: Path, modules: Path, busybox: Path, python: Path) -> Path:
    """The guest's file system in memory, as a cpio archive."""
    root = folder / "initramfs"
    for name in ("bin", "modules", "lib", "lib64", "python/bin", "python/lib"):
        (root / name).mkdir(parents=True)
    (root / "init").write_text(INIT.format(modules=" ".join(MODULES)))
    (root / "init").chmod(0o755)
    shutil.copy(busybox, root / "bin/busybox")
    for name in MODULES:
        for path in modules.rglob(f"{name}.ko"):
            shutil.copy(path, root / "modules")
    shutil.copy(python / "bin/python3.6", root / "python/bin")
    skipped = shutil.ignore_patterns(
        "test", "tests", "site-packages", "__pycache__", "*.a", "idlelib", "tkinter", "ensurepip"
    )
    shutil.copytree(python / "lib/python3.6", root / "python/lib/python3.6", ignore=skipped)
    linked = [python / "bin/python3.6", *(python / "lib/python3.6/lib-dynload").glob("_hashlib*.so")]
    linked += [
        python / "lib/python3.6/lib-dynload" / path.name
        for path in (python / "lib/python3.6/lib-dynload").glob("zlib*")
    ]
    for path in linked:
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+)", said):
            shutil.copy(library, root / ("lib64" if "ld-linux" in library else "lib"))
    pack(root / "runner.pyz")
    shutil.copy(Path(__file__).with_name("power_guest.py"), root / "guest.py")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (folder / "memory.cpio").open("wb") as out:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), stdout=out, check=True
        )
    return folder / "memory.cpio"


def started(kernel: Path, initramfs: Path, disk: Path, qemu: str) -> subprocess.Popen[str]:
    """The machine, its console on our pipe."""
    words = [
        qemu,
        "-cpu",
        "max",
        "-m",
        "768",
        "-nographic",
        "-no-reboot",
        "-net",
        "none",
        "-kernel",
        str(kernel),
    ]
    words += [
        "-initrd",
        str(initramfs),
        "-append",
        "console=ttyS0 quiet panic=-1 rdinit=/init no_timer_check tsc=unstable",
    ]
    words += ["-drive", f"file={disk},format=raw,if=virtio,cache=writeback"]
    if folder := os.environ.get("QEMU_BIOS"):
        words += ["-L", folder]
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def point(machine: subprocess.Popen[str], wait: float) -> tuple[dict[str, object], list[str]]:
    """What the cut before left, and what the machine says until the next one."""
    assert machine.stdout is not None
    said, result = list[str](), dict[str, object]()
    limit = threading.Timer(BOOT_S, machine.kill)
    limit.start()
    for line in machine.stdout:
        said.append(line.rstrip())
        if (match := re.search(r"CUT (\{.*\})", line)) and not result:
            result = json.loads(match[1])
            limit.cancel()
            limit = threading.Timer(wait, machine.kill)
            limit.start()
    limit.cancel()
    machine.wait()
    return result, said


def main() -> int:
    """Cut, start, cut."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("kernel", "modules", "busybox", "python"):
        options.add_argument(f"--{name}", type=Path, required=True)
    options.add_argument("--qemu", default="qemu-system-x86_64")
    options.add_argument("--points", type=int, default=200)
    options.add_argument("--longest", type=float, default=4.0, help="seconds from its first word to the cut")
    options.add_argument("--minutes", type=float, default=60.0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        told = cuts(Path(name), given)
    print(json.dumps(told))
    return 0 if set(told) <= {"points", "deployments", "old", "new"} else 1


def cuts(folder: Path, given: argparse.Namespace) -> dict[str, int]:
    """How often it came back with what."""
    chance, found, begun, last = random.Random(1), Counter[str](), 0, list[str]()  # noqa: S311
    ends = time.monotonic() + 60 * given.minutes
    initramfs, disk = memory(folder, given.modules, given.busybox, given.python), folder / "disk"
    with disk.open("wb") as file:
        file.truncate(256 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    for number in range(given.points + 1):
        if time.monotonic() > ends:
            break
        machine = started(given.kernel, initramfs, disk, given.qemu)
        result, said = point(machine, chance.uniform(0.2, given.longest))
        if not result:  # a machine that is too busy to start one is no cut
            print("\n".join(["no answer:", *said[-20:]]), file=sys.stderr)
            continue
        if number:
            found[judged(result, last)] += 1
        begun += sum(line.startswith("BEGIN") for line in said)
        last = said
        print(f"{number}: {dict(found)}", file=sys.stderr, flush=True)
    return {"points": sum(found.values()), "deployments": begun, **found}


def judged(result: dict[str, object], before: list[str]) -> str:
    """Old or new, by what was under way when the power was cut."""
    if result.get("before") not in ("whole", "none") or result.get("left") or "serves" not in result:
        return f"damaged: {result}"
    done = [int(line.split()[1]) for line in before if re.match(r"DONE \d+$", line)]
    cut = next((json.loads(line.split("CUT ", 1)[1]) for line in before if "CUT {" in line), {"serves": 0})
    old = max([int(cut["serves"]), *done])
    serves = int(str(result["serves"]))
    return "old" if serves == old else "new" if serves == old + 1 else f"another: {serves} after {old}"


if __name__ == "__main__":
    sys.exit(main())
