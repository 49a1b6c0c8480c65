"""Machines that share no disk: a folder by fsspec, and a real S3 server (moto's, on this machine)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest

from jetpress.deploy.errors import DeviceError, RecipeError
from jetpress.pipeline.store import shared
from jetpress.pipeline.store.shared import VARIABLE, Shared
from jetpress.pipeline.store.store import Store
from tests.deploy.sshd import free_port
from tests.pipeline.store.test_store import Config, after, counter, stage

__all__ = ["counter"]
HAS_S3 = all(importlib.util.find_spec(name) for name in ("s3fs", "moto", "flask"))
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
pytestmark = pytest.mark.filterwarnings("default")  # of the server's libraries


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that has begun."""
    if not HAS_S3:
        pytest.skip("s3fs and moto[server] are not installed")
    address = f"http://127.0.0.1:{(port := free_port())}"
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL
    ) as server:
        for _ in range(300):
            try:
                urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
        server.kill()


@pytest.fixture(params=["folder", "path", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty shared store, which new stores use."""
    place = str(tmp_path / "shared") if request.param == "path" else f"file://{tmp_path / 'shared'}"
    if request.param == "s3":
        address = request.getfixturevalue("s3")
        import s3fs

        for name, value in {**AWS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = f"bucket-{tmp_path.name}".replace("_", "-")[-60:]
        s3fs.S3FileSystem().mkdir(bucket)
        place = f"s3://{bucket}/team"
    monkeypatch.setenv(VARIABLE, place)
    shared._of.cache_clear()
    return place


def machine(folder: Path) -> Store:
    """A store of a machine by itself."""
    store = Store(folder)
    assert store.shared is not None
    return store


@pytest.mark.usefixtures("url")
def test_what_one_machine_made_the_other_finds(tmp_path: Path, counter: Path) -> None:
    one, other = machine(tmp_path / "a"), machine(tmp_path / "b")
    first, _, _ = one.make(stage, Config("a", str(counter)))
    again, memo, cached = other.make(stage, Config("a", str(counter)))
    assert (cached, again.digest, counter.read_text()) == (True, first.digest, "x")
    assert (again.path / "text").read_text() == "a"
    assert memo.stage == "stage"
    assert not [*other.drafts.iterdir()]
    made, _, _ = other.make(after, Config("b", ""), again)
    assert one.make(after, Config("b", ""), first)[:1] == (replace(made, path=one.objects / made.digest),)


def test_two_machines_at_the_same_stage_do_it_once(
    url: str, tmp_path: Path, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "POLL_S", 0.05)
    found = list[bool]()

    def run(folder: Path) -> None:
        store = machine(folder)
        store.shared = Shared(url)  # a process of its own has one of its own
        found.append(store.make(stage, Config("a", str(counter)))[2])

    both = [threading.Thread(target=run, args=(tmp_path / name,)) for name in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert (sorted(found), counter.read_text()) == ([False, True], "x")


def test_a_claim_of_a_machine_that_is_gone_is_taken_over(
    url: str,
    tmp_path: Path,
    counter: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, config = machine(tmp_path / "a"), Config("a", str(counter))
    key = store.key(stage, config, ())
    Shared(url)._wait(key, f"{Shared(url)._root}/claims/{key}", "gone")
    monkeypatch.setattr(shared, "POLL_S", 0.05)
    monkeypatch.setattr(shared, "LEASE_S", 0.3)
    assert not store.make(stage, config)[2]
    assert "another machine is at this stage" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"no archive", b""])
@pytest.mark.usefixtures("url")
def test_what_is_damaged_there_is_made_anew_and_replaced(
    tmp_path: Path, counter: Path, damage: bytes
) -> None:
    one, config = machine(tmp_path / "a"), Config("a", str(counter))
    made, _, _ = one.make(stage, config)
    assert one.shared is not None
    there, place = one.shared._there, one.shared._at("objects", f"{made.digest}.tar")
    whole = there.cat_file(place)
    there.pipe_file(place, damage or whole.replace(b"a\0", b"b\0"))  # or another content in a whole archive
    again, _, cached = machine(tmp_path / "b").make(stage, config)
    assert (cached, again.digest, counter.read_text()) == (False, made.digest, "xx")
    assert machine(tmp_path / "c").make(stage, config)[2]


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nowhere://x")
    with pytest.raises(RecipeError, match="nowhere"):
        shared.shared()


@pytest.mark.skipif(not HAS_S3, reason="s3fs and moto[server] are not installed")
def test_a_server_that_is_away(tmp_path: Path, counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    for name, value in {**AWS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv(VARIABLE, "s3://away")
    with pytest.raises(DeviceError, match="s3://away"):
        Store(tmp_path).make(stage, Config("a", str(counter)))
