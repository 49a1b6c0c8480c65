"""The board's own seal on the engines that were built here: an HMAC of a key that only root reads.

An engine is code that the GPU's driver is handed, and it is not signed: it is built on the board. Where root has made
a key, `engine.json` carries the HMAC of what it says, the digests of all engines among it. Whoever can write to the
folder, and cannot read the key, cannot make one. What was not sealed here is built again.

    sudo sh -c 'umask 077; mkdir -p /etc/jetpress; head -c 32 /dev/urandom > /etc/jetpress/board.key'
"""

import hmac
import os
import stat
from typing import Dict, Optional

from ..system.failures import DigestMismatch, TrustError
from ..system.files import canonical

FILE = "/etc/jetpress/board.key"
SEAL = "seal"
SHORTEST, LONGEST = 32, 4096  # bytes


def key() -> Optional[bytes]:
    """The key; None where the board has none, or where we are not root: then nothing is sealed, and no seal checked.

    Raises TrustError where somebody else could read it.
    """
    try:
        held = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:
        raise TrustError(
            "the board's key %s cannot be read: %s" % (FILE, error.strerror), "make it again, as root"
        )
    with open(held, "rb") as source:
        status, content = os.fstat(held), source.read(LONGEST + 1)
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
        raise TrustError(
            "the board's key %s may be read by others than root" % FILE,
            "make another one: others may know it (umask 077; head -c 32 /dev/urandom > %s)" % FILE,
        )
    if not SHORTEST <= len(content) <= LONGEST:
        raise TrustError(
            "the board's key %s has %d bytes" % (FILE, len(content)), "32 random bytes make a good one"
        )
    return content


def sealed(content: Dict[str, object]) -> Dict[str, object]:
    """With the seal of this board, where it has a key."""
    secret = key()
    return content if secret is None else dict(content, **{SEAL: _seal(secret, content)})


def check(path: str, content: Dict[str, object]) -> None:
    """Raises DigestMismatch where this board has a key, and it did not seal this."""
    secret = key()
    if secret is not None and not hmac.compare_digest(_seal(secret, content), str(content.get(SEAL))):
        raise DigestMismatch(
            "%s was not sealed by this board" % path, "run `build` again on this board, as root"
        )


def _seal(secret: bytes, content: Dict[str, object]) -> str:
    told = {name: value for name, value in content.items() if name != SEAL}
    return hmac.new(secret, canonical(told).encode("ascii"), "sha256").hexdigest()
