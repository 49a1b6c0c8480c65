from __future__ import annotations

import random
from pathlib import Path

import pytest

from jetpress.deploy.errors import TrustError
from jetpress.pipeline.store.artifact import Bundle, Checkpoint, canonical, describe, verify
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.store import Store


def make(store: Store, content: bytes) -> Checkpoint:
    made, _, _ = store.make(write, content.hex())
    return made


def write(config: str, draft: Path) -> Checkpoint:
    """A stage that writes what it is told."""
    (draft / "sub").mkdir(exist_ok=True)
    (draft / "weights.bin").write_bytes(bytes.fromhex(config))
    (draft / "sub" / "more.txt").write_text("more")
    return Checkpoint(draft, CheckpointFacts(len(config) // 2, 1))


@pytest.fixture
def artifact(tmp_path: Path) -> Checkpoint:
    return make(Store(tmp_path), bytes(range(256)) * 8)


def test_the_name_is_the_digest_of_the_content(artifact: Checkpoint) -> None:
    assert describe(Checkpoint(artifact.path, artifact.facts))[1] == artifact.digest
    verify(artifact)


def test_any_flipped_bit_is_refused(artifact: Checkpoint) -> None:
    dice = random.Random(0)
    for _ in range(100):
        name = dice.choice(["weights.bin", "sub/more.txt", "artifact.json"])
        file = artifact.path / name
        whole = file.read_bytes()
        place, bit = dice.randrange(len(whole)), dice.randrange(8)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(TrustError):
            verify(artifact)
        file.write_bytes(whole)
    verify(artifact)


@pytest.mark.parametrize("size", [0, 1, 1024, 2047, 2049])
def test_a_wrong_size_is_named(artifact: Checkpoint, size: int) -> None:
    whole = (artifact.path / "weights.bin").read_bytes()
    (artifact.path / "weights.bin").write_bytes((whole + b"x")[:size])
    with pytest.raises(TrustError, match=f"{size} bytes, expected 2048"):
        verify(artifact)


def test_a_link_in_place_of_a_file_is_refused(artifact: Checkpoint, tmp_path: Path) -> None:
    file = artifact.path / "weights.bin"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError):
        verify(artifact)


def test_an_added_file_is_refused(artifact: Checkpoint) -> None:
    (artifact.path / "sub" / "stray").touch()
    with pytest.raises(TrustError, match="stray was added"):
        verify(artifact)


def test_an_artifact_opens_only_as_what_it_is(artifact: Checkpoint) -> None:
    assert Checkpoint.open(artifact.path).facts == CheckpointFacts(2048, 1)
    with pytest.raises(TrustError, match="Checkpoint, not a Bundle"):
        Bundle.open(artifact.path)


def test_canonical_json_has_one_form() -> None:
    assert canonical({"b": 1, "a": [1.5, "é"]}) == canonical({"a": [1.5, "é"], "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))
