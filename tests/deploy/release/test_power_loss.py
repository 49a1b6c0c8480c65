"""Power fails at 200 moments of a deployment: each time the old release or the new one is there, whole, and answers."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from jetpress.deploy.runner.backends import open_backend
from jetpress.deploy.runner.engines import build, infer
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.deploy.runner.engines.stamp import STAMP, open_engines
from jetpress.deploy.runner.release import slots
from jetpress.deploy.runner.release.deployment import Asked, boot, deploy
from jetpress.deploy.runner.release.slots import Place, damage
from tests.deploy.release.power import Recorder
from tests.deploy.runner_bundles import CLASSES, bundle

POINTS = 200
pytestmark = pytest.mark.usefixtures("no_fsync")


def built(folder: str) -> None:
    """A real engine, in this process, so that its writes are seen."""
    made = Bundle(folder)
    made.only_chosen()
    build.run(made, f"{folder}/engines")


def healthy(folder: str) -> None:
    return None


def answer(place: Place) -> np.ndarray:
    """What the release that serves gives for its samples."""
    made = Bundle(place.link)
    made.only_chosen()
    session = open_engines(made, f"{place.link}/engines", open_backend(made.plan))["compressed"]
    feeds = infer.samples(made, session)
    assert feeds is not None
    return infer.through(session, feeds)["logits"]


def deployment(folder: Path) -> tuple[Recorder, Asked, list[Path]]:
    """The record of a second release that takes the place of a first one, and of a third, so that old files go."""
    asked = Asked(root=str(folder / "root"), signers=str(folder / "nobody"))
    releases = [bundle(folder / f"{number}", threads=1, note=number) for number in range(3)]
    deploy(str(releases[0]), asked, built, healthy)
    recorder = Recorder(folder / "root")
    with recorder.recording():
        for one in releases[1:]:
            deploy(str(one), asked, built, healthy)
    return recorder, asked, releases


def test_power_loss_leaves_a_whole_release(tmp_path: Path) -> None:
    recorder, _, releases = deployment(tmp_path)
    known = {slots.digest_of(str(one)): number for number, one in enumerate(releases)}
    chance, served, answered = random.Random(1), dict[int, int](), set[bytes]()
    assert len(recorder.moments) > 100
    for point in range(POINTS):
        place = Place(str(tmp_path / "after"), "toy")
        recorder.play(chance.randrange(len(recorder.moments)), chance, tmp_path / "after")
        boot(place, healthy)
        number = place.current()
        assert number is not None, f"point {point}: nothing serves"
        assert damage(place, number) is None, f"point {point}"
        assert not [path for path in Path(place.releases).iterdir() if path.name.startswith(".")]
        which = known[slots.digest_of(place.link)]
        served[which] = served.get(which, 0) + 1
        stamp = Path(
            place.link, "engines", STAMP
        ).read_bytes()  # all below it is whole: once is enough for each
        if stamp not in answered:
            assert answer(place).shape == (5, CLASSES)
            answered.add(stamp)
        if point % 20 == 0:  # and it goes on from there
            again = Asked(root=str(tmp_path / "after"), signers=str(tmp_path / "nobody"))
            assert deploy(str(releases[2]), again, built, healthy).state == "good"
            assert known[slots.digest_of(place.link)] == 2
        shutil.rmtree(tmp_path / "after")
    assert set(served) == {0, 1, 2}, served


@pytest.mark.parametrize("forgotten", ["settle_all", "settle"])
def test_the_replay_finds_what_is_not_synced(
    forgotten: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment that forgets an fsync is caught."""
    from jetpress.deploy.runner.release import deployment as flow

    monkeypatch.setattr(slots, forgotten, lambda folder: None)
    monkeypatch.setattr(flow, "settle_all", lambda folder: None)
    recorder, _, _ = deployment(tmp_path)
    chance, lost = random.Random(2), 0
    for _ in range(60):
        place = Place(str(tmp_path / "after"), "toy")
        recorder.play(chance.randrange(len(recorder.moments)), chance, tmp_path / "after")
        number = place.current()
        lost += number is None or damage(place, number) is not None
        shutil.rmtree(tmp_path / "after")
    assert lost
