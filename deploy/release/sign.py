"""A release: the bundle of a run, and a signature over what it is. It appears whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jetpress.deploy.draft import folder
from jetpress.deploy.errors import RecipeError, TrustError
from jetpress.deploy.release.keys import Key, ssh_keygen
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.deploy.runner.system.failures import RunnerError
from jetpress.deploy.runner.system.files import contained
from jetpress.deploy.runner.trust import release, sshsig
from jetpress.deploy.runner.trust.release import CLAIMS, MANIFEST, SIGNATURE, Claims
from jetpress.deploy.runner.trust.signers import NAMESPACE

FORMAT = 1
DAY_S = 86400
LONGEST_DAYS = 3650


def sign(
    bundle: Path, out: Path | None, key: Key, signer: str | None, days: int, beside: Path | None = None
) -> tuple[Path, Claims]:
    """Copy a bundle and sign its manifest.

    Args:
        bundle: of a finished run; each file is held against its manifest before anything is signed.
        out: the release's folder, which must not be there; None: ``releases/NUMBER`` beside the bundle.
        key: whose private half ssh-keygen finds.
        signer: None: the key's comment.
        days: how long boards take it.
        beside: a folder with what the release has and the bundle has not; it becomes part of the manifest.

    Returns:
        the release's folder, and what was signed. Its number is the time in seconds: whoever signs with this key, on
        whatever machine, the later release has the higher one.

    Raises:
        TrustError: the bundle is not the one that was made.
        RecipeError: the key, its name, or the folder will not do.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise RecipeError(f"--days {days} is not between 1 and {LONGEST_DAYS}", "a year is 365")
    with trusted():
        read = Bundle(str(bundle))
        target, manifest = str(read.part("target").get("name")), _manifest(bundle, beside)
    now = int(time.time())
    claims = Claims(
        name=str(read.plan["name"]),
        target=target,
        signer=key.signer(signer),
        sequence=now,
        created=now,
        expires=now + days * DAY_S,
        manifest=hashlib.sha256(manifest).hexdigest(),
    )
    place = out or bundle.parent / "releases" / str(claims.sequence)
    with folder(place) as draft:
        for name in read.files:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(contained(str(bundle), name), draft / name)
        if beside is not None:
            shutil.copytree(beside, draft, dirs_exist_ok=True)
        (draft / MANIFEST).write_bytes(manifest)
        (draft / CLAIMS).write_text(json.dumps({"format": FORMAT, **claims._asdict()}, indent=1) + "\n")
        ssh_keygen(["-Y", "sign", "-f", str(key.path.absolute()), "-n", NAMESPACE, str(draft / CLAIMS)])
        with trusted():
            _tried(draft, key)
            Bundle(str(draft))  # what was copied is what was signed
    return place, claims


def _manifest(bundle: Path, beside: Path | None) -> bytes:
    """The bundle's own, with the files beside it."""
    written = (bundle / MANIFEST).read_bytes()
    if beside is None:
        return written
    told = json.loads(written)
    for path in sorted(path for path in beside.rglob("*") if path.is_file()):
        content = path.read_bytes()
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        told["files"][path.relative_to(beside).as_posix()] = entry
    return json.dumps(told, indent=1).encode()


def verify(folder: Path, signers: Path, target: str, state: str = "") -> Claims:
    """The claims of a release that may be used on this machine; see :func:`jetpress.deploy.runner.trust.release.check`.

    Raises:
        TrustError: what is wrong with it.
    """
    with trusted():
        return release.check(str(folder), str(signers), target, state)


def _tried(draft: Path, key: Key) -> None:
    """A key whose public half is of another one would be refused on every board."""
    made = sshsig.read((draft / SIGNATURE).read_bytes())
    if made.key != key.blob or not made.holds((draft / CLAIMS).read_bytes()):
        raise TrustError(f"{key.path} signed, and it is not the key {key.fingerprint}", "see its .pub file")


@contextmanager
def trusted() -> Iterator[None]:
    """The runner's refusals as ours."""
    try:
        yield
    except RunnerError as error:
        raise TrustError(error.what, error.hint) from None
