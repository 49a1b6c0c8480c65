"""A release for those who have an updater: what Mender, RAUC and SWUpdate take, with our signed release as payload.

Their tools make the artifact, and their keys sign it; the board's updater hands the release to a runner that lies on
the board, which verifies our signature, builds, tries and lets it serve as `jetpress deploy` does.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.pack import pack
from jetpress.deploy.runner.system.files import safe_name
from jetpress.deploy.runner.trust.release import CLAIMS, SIGNATURE

READS = ("updaters/*.sh",)
SCRIPTS = Path(__file__).parent / "updaters"
PAYLOAD = "release.tar"
INCOMING = "/var/lib/jetpress/incoming"
Files = Mapping[str, bytes]


def package(release: Path, updater: str, out: Path) -> str:
    """Leave in ``out`` what an updater's tool needs, and what the board needs once; the command that goes on.

    Args:
        release: a signed one.
        updater: of :data:`UPDATERS`.
        out: must not be there, or be empty.

    Raises:
        RecipeError: it is no signed release, or the folder is in use.
    """
    if not (release / SIGNATURE).is_file():
        raise RecipeError(f"{release} is no signed release", "make one: jetpress release RUN --key KEY")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"{out} is there already", "name another folder with --out")
    try:
        claims = json.loads((release / CLAIMS).read_bytes())
        told = {name: str(claims[name]) for name in ("name", "target", "sequence")}
    except (ValueError, LookupError, TypeError) as error:
        raise RecipeError(f"{release / CLAIMS} cannot be understood: {error}", "release it again") from None
    files, command = UPDATERS[updater](told, archive(release))
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
        (out / name).chmod(0o755 if content.startswith(b"#!") else 0o644)
    (out / "board").mkdir(exist_ok=True)
    pack(out / "board" / "runner.pyz")
    return command


def archive(release: Path) -> bytes:
    """Its files as a tar, the same whoever makes it and when; engines that were built beside it are left out."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(release.rglob("*")):
            name = path.relative_to(release).as_posix()
            if not path.is_file() or path.is_symlink() or name.startswith("engines/"):
                continue
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                tar.addfile(entry, source)
    return held.getvalue()


def _mender(told: Mapping[str, str], payload: bytes) -> tuple[Files, str]:
    files = {
        PAYLOAD: payload,
        "network": f"{safe_name(told['name'])}\n".encode(),
        "board/jetpress": _script("mender"),
    }
    name, kind = _word(f"{told['name']}-{told['sequence']}"), _word(told["target"])
    command = f"mender-artifact write module-image -T jetpress -n {name} -t {kind} -f {PAYLOAD} -f network"
    return files, f"{command} -o {name}.mender"


def _rauc(told: Mapping[str, str], payload: bytes) -> tuple[Files, str]:
    manifest = (
        f"[update]\ncompatible={_word(told['target'])}\nversion={told['sequence']}\n"
        f"description={_word(told['name'])}\n\n[bundle]\nformat=plain\n\n[handler]\nfilename=install.sh\n"
    )
    inside = {PAYLOAD: payload, "install.sh": _script("install"), "manifest.raucm": manifest.encode()}
    name = _word(f"{told['name']}-{told['sequence']}")
    files = {f"content/{file}": content for file, content in inside.items()}
    return files, f"rauc bundle --cert CERT --key KEY content {name}.raucb"


def _swupdate(told: Mapping[str, str], payload: bytes) -> tuple[Files, str]:
    script = _script("install")
    described = DESCRIPTION.format(
        version=told["sequence"],
        name=_word(told["name"]),
        target=_word(told["target"]),
        payload=hashlib.sha256(payload).hexdigest(),
        script=hashlib.sha256(script).hexdigest(),
        incoming=INCOMING,
    )
    files = {PAYLOAD: payload, "install.sh": script, "sw-description": described.encode()}
    name = _word(f"{told['name']}-{told['sequence']}")
    return files, f"printf '%s\\n' sw-description install.sh {PAYLOAD} | cpio -o -H crc > {name}.swu"


DESCRIPTION = """software =
{{
    version = "{version}";
    description = "{name} for {target}";
    hardware-compatibility: [ "#RE:.*" ];
    scripts: (
        {{
            filename = "install.sh";
            type = "postinstall";
            sha256 = "{script}";
        }}
    );
    files: (
        {{
            filename = "release.tar";
            path = "{incoming}/release.tar";
            sha256 = "{payload}";
            properties: {{ create-destination = "true"; }}
        }}
    );
}}
"""

UPDATERS: Mapping[str, Callable[[Mapping[str, str], bytes], tuple[Files, str]]] = {
    "mender": _mender,
    "rauc": _rauc,
    "swupdate": _swupdate,
}


def _script(name: str) -> bytes:
    return (SCRIPTS / f"{name}.sh").read_bytes()


def _word(text: str) -> str:
    """What stands in other tools' files and command lines as it is: they have rules of their own for the rest."""
    return re.sub(r"[^A-Za-z0-9._-]|^-", "_", text) or "_"
