"""A signed release: who vouches for a bundle, for which target, from when to when, and as which number of his.

    FOLDER/release.json       what was signed: name, target, signer, sequence, created, expires, digest of manifest.json
    FOLDER/release.json.sig   by `ssh-keygen -Y sign -n jetpress-release`
    FOLDER/manifest.json ...  the bundle

Nothing is parsed before its signature holds, and no older release is taken for a newer one: this board keeps the
highest number that it has seen of each key and network. The rules are those of TUF (The Update Framework).
"""

import hashlib
import json
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional

from ..engines import manifest
from ..system.events import emit
from ..system.failures import RunnerError, TrustError
from ..system.files import JSON_LIMIT, alone, contained, make_folder, read_json, verify, write_json
from . import openssh, signers, sshsig
from .signers import Signers

CLAIMS, SIGNATURE, MANIFEST = "release.json", "release.json.sig", "manifest.json"
LARGEST = 65536
WRONG_CLOCK_S = 86400  # a board's clock may be that far behind the signer's
BESIDE = (CLAIMS, SIGNATURE, MANIFEST)  # of the folder, and not in the manifest
STATE = "~/.config/jetpress/sequences.json"
BUILT = "engines"  # built there, after the release
DO_NOT = "do not use this release"
AGAIN = "release it again: jetpress release RUN --key KEY"


class Claims(NamedTuple):
    """What was signed; times in Unix seconds."""

    name: str
    target: str
    signer: str
    sequence: int
    created: int
    expires: int
    manifest: str  # SHA-256 of manifest.json


class Last(NamedTuple):
    """The newest release of a key and network that was here."""

    sequence: int
    manifest: str


def check(folder: str, path: str, target: str = "", state: str = "", is_own: bool = False) -> Claims:
    """The claims of a release that may be used here; from now on no older one may, but one that this board has in a
    slot (`is_own`) and goes back to.

    Raises TrustError or DigestMismatch: what is wrong with it.
    """
    text, signature = _read(folder, CLAIMS), _read(folder, SIGNATURE)
    trusted = signers.read(path)
    names = _signed(text, signature, trusted)
    claims = _claims(text)
    key = sshsig.fingerprint(sshsig.read(signature).key)
    if claims.signer not in names:
        raise TrustError("%s is signed as %r by a key of %s" % (folder, claims.signer, names[0]), DO_NOT)
    for wanted in (target, trusted.target):
        if wanted and claims.target != wanted:
            raise TrustError(
                "%s was released for %s, and this is %s" % (folder, claims.target, wanted),
                "release a run of this target: jetpress run RECIPE --target %s" % wanted,
            )
    _in_time(folder, claims)
    if hashlib.sha256(_read(folder, MANIFEST, JSON_LIMIT)).hexdigest() != claims.manifest:
        raise TrustError("%s/%s is not the one that was signed" % (folder, MANIFEST), DO_NOT)
    _files(folder)
    if not is_own:
        _newest(folder, key, claims, state or default_state())
    return claims


def require(
    folder: str, path: str = signers.FILE, target: str = "", state: str = "", is_own: bool = False
) -> Optional[Claims]:
    """Say whether a bundle is signed, and its claims; refuse it where this board's file asks for that."""
    is_signed, asked = os.path.lexists(os.path.join(folder, SIGNATURE)), os.path.lexists(path)
    if is_signed and asked:
        claims = check(folder, path, target, state, is_own)
        emit("signature", state="verified", signer=claims.signer, sequence=claims.sequence)
        return claims
    if asked and signers.read(path).is_required:
        raise TrustError(
            "%s is not signed, and %s asks for that (require-signature)" % (folder, path),
            "release it, and send the release: jetpress release RUN --key KEY",
        )
    emit("signature", state="not checked" if is_signed else "unsigned", signer=None, sequence=None)
    return None


def default_state() -> str:
    """Where the numbers are kept: not in the working folder, which may be emptied."""
    return os.path.expanduser(STATE)


def _read(folder: str, name: str, most: int = LARGEST) -> bytes:
    """A file of bounded size, which is no link."""
    path = os.path.join(folder, name)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
            content = source.read(most + 1)
    except OSError as error:
        raise TrustError("%s cannot be read: %s" % (path, error.strerror), "this is no signed release")
    if len(content) > most:
        raise TrustError("%s is larger than %d bytes" % (path, most), DO_NOT)
    return content


def _signed(text: bytes, armoured: bytes, trusted: Signers) -> List[str]:
    """The names that the signer's key may sign as."""
    signature = sshsig.read(armoured)
    who = sshsig.fingerprint(signature.key)
    if signature.namespace != signers.NAMESPACE.encode("ascii"):
        raise TrustError("the signature of %s was not made for a release" % who, AGAIN)
    if trusted.is_revoked(signature.key):
        raise TrustError("the key %s is revoked in %s" % (who, trusted.path), DO_NOT)
    names = trusted.keys.get(signature.key)
    if not names:
        raise TrustError(
            "the key %s is not among those of %s" % (who, trusted.path),
            "if you trust its owner, put the line that `jetpress key KEY` prints there into it, as root",
        )
    if not signature.holds(text):
        raise TrustError("%s is not what the key %s signed" % (CLAIMS, who), DO_NOT)
    listed = trusted.listed.content if trusted.listed else None
    openssh.confirm(text, armoured, names[0], signature.key, signers.NAMESPACE, listed)
    return names


def _claims(text: bytes) -> Claims:
    """Only a trusted signer gets here; he may use another version of jetpress."""
    try:
        told = json.loads(text.decode("utf-8"))
        claims = Claims(*[told[name] for name in Claims._fields])
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise TrustError("%s cannot be understood: %s" % (CLAIMS, error), AGAIN)
    texts = claims.name, claims.target, claims.signer, claims.manifest
    numbers = claims.sequence, claims.created, claims.expires
    if told.get("format") != 1 or not all(isinstance(text, str) for text in texts):
        raise TrustError("%s is of another format than 1" % CLAIMS, AGAIN)
    if not all(type(number) is int and 0 < number < 2**53 for number in numbers):
        raise TrustError("%s: sequence, created and expires must be whole numbers above 0" % CLAIMS, AGAIN)
    return claims


def _in_time(folder: str, claims: Claims) -> None:
    now = time.time()
    if claims.expires <= now:
        raise TrustError("%s expired on %s" % (folder, day(claims.expires)), AGAIN)
    if claims.created > now + WRONG_CLOCK_S:
        raise TrustError(
            "%s was signed on %s, and here it is %s" % (folder, day(claims.created), day(now)),
            "set the clock of this machine (`date -u`): an expired release could not be told",
        )


def day(when: float) -> str:
    """A date, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(min(when, 253402300799)))


def _files(folder: str) -> None:
    """Each file against the manifest, and none beside it."""
    listed = manifest.listed(folder)
    for name, entry in sorted(listed.items()):
        verify(contained(folder, name), entry.sha256, entry.size)
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        if parent == folder and BUILT in folders and BUILT not in links:
            folders.remove(BUILT)
        for name in names + links:
            relative = os.path.relpath(os.path.join(parent, name), folder)
            if relative not in listed and relative not in BESIDE:
                raise TrustError("%s/%s was added to the release" % (folder, relative), DO_NOT)


def _newest(folder: str, key: str, claims: Claims, state: str) -> None:
    """Refuse what is older than what was here, and write down what is here now."""
    with alone(make_folder(os.path.dirname(os.path.abspath(state))), "verification"):
        kept = _kept(state)
        seen = kept.setdefault(key, {})
        last = seen.get(claims.name, Last(0, ""))
        if claims.sequence < last.sequence or (
            claims.sequence == last.sequence and claims.manifest != last.manifest
        ):
            raise TrustError(
                "%s is number %d of %s, and this machine has seen number %d of this key: an old release, again"
                % (folder, claims.sequence, claims.name, last.sequence),
                "to go back to it on purpose, release it again: jetpress release RUN --key KEY",
            )
        if claims.sequence > last.sequence:
            seen[claims.name] = Last(claims.sequence, claims.manifest)
            write_json(state, kept)


def _kept(state: str) -> Dict[str, Dict[str, Last]]:
    """Key > network > its last number and manifest."""
    if not os.path.lexists(state):
        return {}
    kept: Dict[str, Dict[str, Last]] = {}
    try:
        told: Any = read_json(state)
        for key, seen in told.items():
            kept[key] = {name: Last(int(last[0]), str(last[1])) for name, last in seen.items()}
    except (RunnerError, LookupError, AttributeError, TypeError, ValueError):
        raise TrustError(
            "%s, which keeps the numbers of releases, is damaged" % state,
            "remove it if you know that no old release is being passed off here",
        )
    return kept
