"""The keys that sign releases: Ed25519 keys of OpenSSH. ssh-keygen makes them and signs; we read public halves only."""

from __future__ import annotations

import subprocess
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.errors import RecipeError, ToolMissing
from jetpress.deploy.process import plain
from jetpress.deploy.runner.system.failures import RunnerError
from jetpress.deploy.runner.trust import signers, sshsig

NAMES = "use letters, digits and . _ @ + -, for example alice@example.com"


@dataclass(frozen=True)
class Key:
    """A key by its public half."""

    path: Path
    """What ``ssh-keygen -f`` takes: the private key, or the public one of a key in an agent."""
    blob: bytes
    """As SSH writes it."""
    comment: str

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        return sshsig.fingerprint(self.blob)

    def line(self, signer: str) -> str:
        """The line of a board's allowed signers."""
        kind, key = sshsig.kind_of(self.blob).decode(), b64encode(self.blob).decode()
        return f'{signer} namespaces="{signers.NAMESPACE}" {kind} {key}'

    def signer(self, name: str | None = None) -> str:
        """Who signs: a name, else the key's comment.

        Raises:
            RecipeError: it cannot stand in a file of allowed signers.
        """
        chosen = self.comment if name is None else name
        if not signers.NAME.match(chosen):
            raise RecipeError(
                f"{plain(chosen)[:80]!r} cannot be the name of a signer", f"give one with --signer: {NAMES}"
            )
        return chosen


def make(path: Path, signer: str, has_passphrase: bool) -> Key:
    """A new key pair at ``path`` and ``path.pub``.

    Args:
        has_passphrase: ssh-keygen asks for one, on the terminal.
    """
    if not signers.NAME.match(signer):
        raise RecipeError(f"{plain(signer)[:80]!r} cannot be the name of a signer", NAMES)
    argv = ["-q", "-t", "ed25519", "-C", signer, "-f", str(path.absolute())]
    ssh_keygen([*argv] if has_passphrase else [*argv, "-N", ""], capture=not has_passphrase)
    return read(path)


def read(path: Path) -> Key:
    """The key at ``path``: a private one with its ``.pub`` beside it, or a ``.pub`` whose other half an agent has.

    Raises:
        RecipeError: there is none, or it is of another kind.
    """
    public = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    try:
        words = public.read_text("ascii").split(maxsplit=2)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"there is no public key {public}: {error}", f"`jetpress key {path}` makes a new pair"
        ) from None
    try:
        blob = b64decode(words[1], validate=True)
        sshsig.key_bytes(blob)
    except (LookupError, ValueError, RunnerError):
        kind = f", but {words[0]}" if words and words[0].startswith(("ssh-", "ecdsa-", "sk-")) else ""
        raise RecipeError(
            f"{public} is no Ed25519 key{plain(kind)[:60]}",
            "`jetpress key FILE` makes one; for a FIDO token: ssh-keygen -t ed25519-sk -f FILE",
        ) from None
    return Key(path, blob, plain(words[2]).strip() if len(words) > 2 else "")


def ssh_keygen(arguments: Sequence[str], capture: bool = True) -> None:
    """Run it; passphrases are asked for on the terminal, whatever is captured.

    Raises:
        ToolMissing: it is not installed.
        RecipeError: it failed; its own words say why.
    """
    try:
        done = subprocess.run(["ssh-keygen", *arguments], capture_output=capture, check=False)
    except FileNotFoundError:
        raise ToolMissing("ssh-keygen is not installed", "sudo apt install openssh-client") from None
    if done.returncode:
        said = plain((done.stderr or done.stdout or b"").decode("utf-8", "replace")).strip()
        raise RecipeError(
            f"ssh-keygen failed: {said[-400:] or f'exit status {done.returncode}'}",
            "is the key readable, and its passphrase right; is it in the agent (`ssh-add -l`)?",
        )
