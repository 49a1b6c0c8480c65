"""The second opinion on a signature: the board's own OpenSSH, where it is new enough to have one."""

import os
import re
import subprocess
import tempfile
from base64 import b64encode
from typing import Optional, Tuple

from ..system.failures import TrustError
from .sshsig import kind_of

SINCE = (8, 1)  # `ssh-keygen -Y verify`; JetPack 4 has 7.6, JetPack 5 has 8.2
PATIENCE_S = 20


def version() -> Optional[Tuple[int, int]]:
    """The OpenSSH that is installed; None where there is none."""
    try:
        done = subprocess.Popen(["ssh", "-V"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = done.communicate(timeout=PATIENCE_S)[1]
    except (OSError, subprocess.TimeoutExpired):
        return None
    number = re.match(rb"OpenSSH_(\d+)\.(\d+)", said)
    return (int(number.group(1)), int(number.group(2))) if number else None


def confirm(
    message: bytes, signature: bytes, name: str, key: bytes, namespace: str, revoked: Optional[bytes] = None
) -> bool:
    """Whether OpenSSH was asked. It gets one line of allowed signers, of ours, so that both read the same, and the list
    of revoked keys that we read, if there is one.

    Raises TrustError: it refuses what we did not.
    """
    if (version() or (0, 0)) < SINCE:
        return False
    line = "%s %s %s\n" % (name, kind_of(key).decode("ascii"), b64encode(key).decode("ascii"))
    with tempfile.TemporaryDirectory() as folder:
        files = {"signers": line.encode("ascii"), "signature": signature}
        if revoked is not None:
            files["revoked"] = revoked
        for file, content in files.items():
            with open(os.path.join(folder, file), "wb") as target:
                target.write(content)
        argv = ["ssh-keygen", "-Y", "verify", "-f", os.path.join(folder, "signers"), "-I", name]
        argv += ["-n", namespace, "-s", os.path.join(folder, "signature")]
        argv += ["-r", os.path.join(folder, "revoked")] if revoked is not None else []
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            said = process.communicate(message, timeout=PATIENCE_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            said = b"no answer"
    if process.returncode != 0:
        words = said.decode("utf-8", "replace").strip()[-200:]
        raise TrustError(
            "ssh-keygen refuses a signature that our own arithmetic takes: %s" % words,
            "do not use this release, and report it: see SECURITY.md",
        )
    return True
