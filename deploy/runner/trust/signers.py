"""Whom this board trusts: its file of allowed signers, which came to it out of band and is no part of any bundle.

    # as OpenSSH's allowed_signers: names, options, key
    alice@example.com namespaces="jetpress-release" ssh-ed25519 AAAA...
    @revoked ssh-ed25519 AAAA...     a key that is trusted no more
    revoked-keys revoked.krl         more of them, as `ssh-keygen -k` writes them; the path from this file's folder
    require-signature                nothing unsigned is used on this board
    target xavier                    only what was released for it

A line that is not understood refuses everything: whoever wrote it meant something.
"""

import base64
import os
import re
import stat
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from ..system.failures import TrustError
from . import krl
from .krl import Revocations
from .sshsig import key_bytes, kind_of

FILE = "/etc/jetpress/allowed_signers"
NAMESPACE = "jetpress-release"
LARGEST = 2**20
REQUIRED = ["require-signature"]  # the words of a line
TARGET, REVOKED_KEYS = "target", "revoked-keys"  # the first of two
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z")
OPTION = re.compile(r'namespaces="([A-Za-z0-9.,_@-]+)"\Z')


class Signers(NamedTuple):
    """What the file says."""

    path: str
    keys: Dict[bytes, List[str]]  # by the key as SSH writes it: the names that it may sign as
    revoked: Set[bytes]
    is_required: bool  # whether what is not signed is refused
    target: Optional[str]
    listed: Optional[Revocations]  # more revoked keys, in a file of their own

    def is_revoked(self, key: bytes) -> bool:
        """Whether a key is trusted no more."""
        return key in self.revoked or (self.listed is not None and self.listed.has(key))


def read(path: str) -> Signers:
    """The file, if nobody else could have written it."""
    keys: Dict[bytes, List[str]] = {}
    revoked: Set[bytes] = set()
    is_required, target, listed = False, None, None
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words == REQUIRED:
            is_required = True
        elif words[0] == TARGET and len(words) == 2 and NAME.match(words[1]):
            target = words[1]
        elif words[0] == REVOKED_KEYS and len(words) == 2 and listed is None:
            place = os.path.join(os.path.dirname(os.path.abspath(path)), words[1])
            listed = krl.read(_content(place, krl.LARGEST), place)
        elif words[0] == "@revoked" and len(words) >= 3:
            revoked.add(_key(words[1:3], path, number))
        else:
            names, key = _signer(words, path, number)
            keys.setdefault(key, []).extend(names)
    return Signers(path, keys, revoked, is_required, target, listed)


def _signer(words: List[str], path: str, number: int) -> Tuple[List[str], bytes]:
    names, rest = words[0].split(","), words[1:]
    if words[0] in (REQUIRED[0], TARGET, REVOKED_KEYS):  # a slip must not make it a name that is trusted
        raise _strange(path, number, "%s is no name, and not written like that" % words[0])
    option = OPTION.match(rest[0]) if rest else None
    if option is not None:
        rest = rest[1:]
        if NAMESPACE not in option.group(1).split(","):
            names = []  # the key is for other things
    if not all(NAME.match(name) for name in names):
        raise _strange(path, number, "a name may have letters, digits and . _ @ + -")
    return names, _key(rest, path, number)


def _key(words: List[str], path: str, number: int) -> bytes:
    try:
        kind, blob = words[0], base64.b64decode(words[1], validate=True)
        key_bytes(blob)
        if kind == kind_of(blob).decode("ascii"):
            return blob
    except (LookupError, ValueError, TrustError):
        pass
    raise _strange(path, number, "expected: NAME ssh-ed25519 KEY")


def _text(path: str) -> str:
    try:
        return _content(path, LARGEST).decode("ascii")
    except UnicodeDecodeError:
        raise TrustError("%s is no text in ASCII" % path, "write it again")


def _content(path: str, most: int) -> bytes:
    """The bytes of a file that belongs to root or to us, in folders that do."""
    try:
        with open(path, "rb") as source:
            place = os.path.realpath(path)
            _owned(place, os.fstat(source.fileno()), "")
            while place != os.path.dirname(place):
                place = os.path.dirname(place)
                _owned(place, os.stat(place), "the folder ")
            content = source.read(most + 1)
    except OSError as error:
        raise TrustError(
            "whom this board trusts cannot be read: %s: %s" % (path, error.strerror),
            "see `jetpress docs release`: the line that `jetpress key KEY` prints stands there, put by root",
        )
    if len(content) > most:
        raise TrustError("%s is larger than %d bytes" % (path, most), "make it shorter")
    return content


def _owned(path: str, status: os.stat_result, what: str) -> None:
    """Refuse what somebody else could have written. In a folder with the sticky bit only owners rename."""
    if status.st_uid not in (0, os.geteuid()):
        raise TrustError("%s%s belongs to another user than root" % (what, path), "sudo chown root %s" % path)
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o022 and not is_sticky:
        raise TrustError("%s%s may be written by others" % (what, path), "sudo chmod go-w %s" % path)
    if not what and not stat.S_ISREG(status.st_mode):
        raise TrustError("%s is not a regular file" % path, "name the file of allowed signers")


def _strange(path: str, number: int, why: str) -> TrustError:
    return TrustError(
        "%s, line %d: %s" % (path, number, why), "see `jetpress docs release` for what may stand there"
    )
