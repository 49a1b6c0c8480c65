"""A board that a release came to, and signatures written by hand."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.release.keys import Key, ssh_keygen
from jetpress.deploy.runner.trust import release
from jetpress.deploy.runner.trust.release import CLAIMS, SIGNATURE, Claims
from jetpress.deploy.runner.trust.signers import NAMESPACE
from jetpress.deploy.runner.trust.sshsig import MAGIC, Signature, string

SIGNER = "alice@example.com"


@dataclass(frozen=True)
class Board:
    """Where the release, the allowed signers and the numbers lie."""

    folder: Path
    signers: Path
    state: Path

    def trust(self, *lines: str) -> None:
        self.signers.write_text("".join(f"{line}\n" for line in lines))
        self.signers.chmod(0o644)

    def check(self, target: str = "") -> Claims:
        return release.check(str(self.folder), str(self.signers), target, str(self.state))

    def sign_again(self, key: Key, text: str, namespace: str = NAMESPACE) -> None:
        """Other claims, signed by whoever has this key."""
        (self.folder / CLAIMS).write_text(text)
        (self.folder / SIGNATURE).unlink()
        ssh_keygen(["-Y", "sign", "-f", str(key.path), "-n", namespace, str(self.folder / CLAIMS)])


def armoured(signature: Signature, behind: bytes = b"") -> bytes:
    """As ssh-keygen writes it."""
    kind = signature.key[: 4 + int.from_bytes(signature.key[:4], "big")]
    wrapped = kind + string(signature.value) + signature.counted
    parts = (signature.key, signature.namespace, signature.reserved, signature.hash_name, wrapped)
    return block(MAGIC + b"\0\0\0\1" + b"".join(map(string, parts)) + behind)


def block(blob: bytes) -> bytes:
    text = b64encode(blob)
    lines = b"".join(text[at : at + 70] + b"\n" for at in range(0, len(text), 70))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"-----END SSH SIGNATURE-----\n"
