"""Both devices keep one contract; and neither a hostile name nor a hostile device gets anything out of it."""

import json
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jetpress.deploy import process
from jetpress.deploy.device import device as devices
from jetpress.deploy.device import ssh
from jetpress.deploy.device.device import Device, Local
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.process import Terms, execute, plain
from tests.deploy import sshd

needs_sshd = pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with (
        pytest.MonkeyPatch.context() as patch,
        sshd.running(tmp_path_factory.mktemp("sshd") / "s") as running,
    ):
        patch.setenv(ssh.CONFIG, str(running.config))
        yield running


@pytest.fixture(scope="module", params=["local", pytest.param("ssh", marks=needs_sshd)])
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    if request.param == "local":
        opened: Device = Local(tmp_path_factory.mktemp("local") / "folder")
    else:
        opened = devices.open(request.getfixturevalue("server").name)
    yield opened
    opened.close()


def until(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def alive(mark: str) -> bool:
    """Whether a program with this argument runs on this machine (the test device is this machine)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words:
                return True
    return False


# --- the contract ---------------------------------------------------------------------------------


def test_a_program_runs_and_its_end_is_told(device: Device) -> None:
    done = device.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_lines_come_while_it_runs(device: Device) -> None:
    seen: list[tuple[str, float]] = []
    device.run(
        ["sh", "-c", "echo 1; sleep 0.5; echo 2; printf 3"],
        on_line=lambda line: seen.append((line, time.monotonic())),
    )
    assert [line for line, _ in seen] == ["1", "2", "3"]
    assert seen[1][1] - seen[0][1] > 0.3


def test_python_is_python(device: Device) -> None:
    assert device.run([device.python, "-c", "print(6 * 7)"]).stdout == "42\n"


def test_what_is_not_there_is_said_as_in_a_shell(device: Device) -> None:
    done = device.run(["no-such-program"])
    assert done.returncode == 127
    assert "no-such-program" in done.stderr


@pytest.mark.parametrize("code", ["exit 255", "kill -9 $$"])
def test_a_program_that_fails_is_no_lost_connection(device: Device, code: str) -> None:
    assert device.run(["sh", "-c", code]).returncode in (254, 137)


def test_a_file_is_written_whole_and_read(device: Device) -> None:
    path, content = f"{device.folder}/a folder/ä'$(x)", bytes(range(256)) * 300
    device.write(path, b"old")
    device.write(path, content)
    assert device.read(path) == content
    assert list(Path(path).parent.iterdir()) == [Path(path)]  # no draft is left


def test_a_missing_file_is_a_foreseen_failure(device: Device) -> None:
    with pytest.raises(DeviceError, match="No such file") as caught:
        device.read(f"{device.folder}/none")
    assert caught.value.hint


def test_clean_leaves_nothing(device: Device) -> None:
    device.write(f"{device.folder}/x/y", b"")
    device.clean()
    assert not Path(device.folder).exists()
    device.clean()


def test_a_timeout_ends_it_there_too(device: Device) -> None:
    start, mark = time.monotonic(), "86401.25"
    with pytest.raises(DeviceError, match=r"within 0.4 s"):
        device.run(["sleep", mark], timeout=0.4)
    assert time.monotonic() - start < 2.4
    assert until(lambda: not alive(mark))


def test_it_ends_with_a_program_that_ignores_the_polite_signal(device: Device) -> None:
    start, mark = time.monotonic(), "stubborn-86402"
    with pytest.raises(DeviceError, match="within"):
        device.run(["sh", "-c", 'trap "" INT TERM HUP; while :; do sleep 0.1; done', mark], timeout=0.4)
    assert time.monotonic() - start < 2.4
    assert until(lambda: not alive(mark))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_kill_end_what_runs_there(device: Device, how: signal.Signals) -> None:
    mark = f"8640{how.value}.5"
    script = (
        "import signal, sys; from pathlib import Path; from jetpress.deploy.device import device\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # it is ignored where tests run behind nohup
        f"d = device.open({device.name!r}, Path({device.folder!r}))\n"
        f"d.run(['sleep', {mark!r}])\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as host:
        assert until(lambda: alive(mark), 10)
        host.send_signal(how)
    assert until(lambda: not alive(mark))


def test_open_takes_names() -> None:
    assert devices.open(None).name == devices.open("local").name == "local"
    assert devices.open("nvidia@orin.lab:2222").name == "nvidia@orin.lab:2222"
    assert devices.open("orin").name == "orin"  # a Host entry of ~/.ssh/config


def test_nothing_of_ours_lets_onnxruntime_call_home(tmp_path: Path) -> None:
    """Imported by the pipeline as by the runner: no device id in the user's cache, no telemetry."""
    script = (
        "import jetpress.pipeline, onnxruntime; from tests.deploy.runner_bundles import network\n"
        "onnxruntime.InferenceSession(network(4).SerializeToString(), providers=['CPUExecutionProvider'])"
    )
    root = Path(__file__).parents[3]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".cache" / "Microsoft").exists()


# --- hostile names --------------------------------------------------------------------------------

QUOTES = [("; ", ""), ("$(", ")"), ("`", "`"), ("\n", "\n"), ("'; ", "; '"), ('"; ', '; "'), ("| ", "")]
CANARIES = [
    "; touch {0}",
    "$(touch {0})",
    "`touch {0}`",
    "\ntouch {0}\n",
    "'; touch {0}; '",
    '"; touch {0}; "',
    "| touch {0}",
]
ODD = [
    "-oProxyCommand=touch {0}",
    "../../{0}",
    "\u202etxt.exe",
    "a" * 300,
    "--",
    "~",
    "*",
    "\\",
    "%n",
    "!x",
    "#",
    "",
]


@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_shell_reads_an_argument(device: Device, tmp_path: Path, data: st.DataObject) -> None:
    canary = tmp_path / "canary"
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
    names = data.draw(st.lists(st.sampled_from(CANARIES + ODD) | text, min_size=32, max_size=40))
    names = [name.replace("{0}", str(canary)) for name in names]
    got = device.run([device.python, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *names])
    assert json.loads(got.stdout) == names
    assert not canary.exists()


@pytest.mark.parametrize(
    "name",
    [
        "-oProxyCommand=touch canary",
        "-oProxyCommand=x@host",
        "user@-oProxyCommand=x",
        "user@host -oProxyCommand=x",
        "user@host\n",
        "user@host;x",
        "$(x)@host",
        "user@host:0",
        "user@host:65536",
        "user@host:٢٢",
        "user@höst",
        "us\u202eer@host",
        "a@b@c",
        "user@" + "a" * 300,
        "ssh://user@host",
        "",
        " ",
    ],
)
def test_what_cannot_be_a_host_is_refused_before_ssh_is_called(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("ssh was called"))
    with pytest.raises(DeviceError, match="cannot be a device") as caught:
        devices.open(name)
    assert plain(str(caught.value)) == str(caught.value)


@given(st.text(max_size=80))
@settings(max_examples=300)
def test_a_host_name_never_becomes_an_option(name: str) -> None:
    try:
        address = ssh.parse(name)
    except DeviceError:
        return
    assert not address.destination.startswith("-")
    assert "@-" not in address.destination
    assert not set(address.destination) - set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._-:"
    )


# --- hostile devices ------------------------------------------------------------------------------


def test_endless_output_is_stopped_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_OUTPUT", 64 * 2**20)
    tracemalloc.start()
    with pytest.raises(DeviceError, match="more than 64 MiB"):
        execute(["yes"], "device", Terms())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_a_line_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LONGEST_LINE", 2**20)
    with pytest.raises(DeviceError, match="line of more than"):
        execute(["cat", "/dev/zero"], "device", Terms(on_line=lambda line: None))


def test_of_long_output_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "KEPT", 2**20)
    lines: list[str] = []
    done = execute(["seq", "300000"], "device", Terms(on_line=lines.append))
    assert len(lines) == 300_000
    assert done.stdout.endswith("299999\n300000\n")
    assert len(done.stdout) == 2**20


def test_escapes_and_broken_text_are_made_plain() -> None:
    lines: list[str] = []
    sent = rb"\033[31mred\007 \377\376 \302\233 \342\200\256evil\r\n"
    done = execute(["printf", sent.decode()], "device", Terms(on_line=lines.append))
    assert lines == ["\\u001b[31mred\\u0007 \ufffd\ufffd \\u009b \\u202eevil"]
    assert done.stdout == lines[0] + "\n"
    assert execute(["sh", "-c", r"printf '\033c' >&2"], "device", Terms()).stderr == "\\u001bc"


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    with pytest.raises(DeviceError, match=r"said nothing within 0.3 s"):
        execute(["sleep", "60"], "device", Terms(quiet=0.3))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("reply", ["", "{", "[1]", '{"a": 1}\nnoise', "null", "[" * 100_000])
def test_an_answer_that_is_none(reply: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reply").write_text(reply)
    monkeypatch.setattr(Local, "command", lambda self, argv: ["cat", str(tmp_path / "reply")])
    with pytest.raises(DeviceError, match="did not answer") as caught:
        Local(tmp_path).write("x", b"")
    assert len(str(caught.value)) < 1000


ADDRESS = ssh.parse("user@host")


@pytest.mark.parametrize(
    "hello",
    ['[[2, 7, "\\u001b[2J"], "/home/u"]', '[[3, 6, 9], "/home/\\u001b[2J"]', '[[3, 6, 9], "home"]', "[3, 6]",
     "[" * 50_000, '[[9' + "9" * 6000 + '], "/h"]', '[[3, 8, 0], 5]'],
)  # fmt: skip
def test_a_hello_that_is_none_is_one_plain_message(hello: str) -> None:
    with pytest.raises(DeviceError, match="a device needs a home folder") as caught:
        ssh.Connection(ADDRESS)._read_hello(hello)
    assert str(caught.value).replace("\n", "").isprintable()
    assert len(str(caught.value)) < 400


def test_words_without_end_are_not_called_silence() -> None:
    with subprocess.Popen(
        ["yes", "welcome"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as endless:
        out, errors = ssh._first_words(endless)
        endless.kill()
        said = str(ssh.why(ADDRESS, None, out, errors, known=False))
    assert "prints without end" in said
    assert "no sign" not in said
    assert "power" not in said


def test_a_long_tmpdir_is_not_called_an_outage() -> None:
    reply = 'unix_listener: path "/very/long/s" too long for Unix domain socket'
    assert "set TMPDIR" in ssh.why(ADDRESS, 255, "", reply, known=False).hint


# --- ways in which a connection does not come about -----------------------------------------------


@needs_sshd
def test_an_unknown_and_a_swapped_host_key_are_refused(server: sshd.Server, tmp_path: Path) -> None:
    known = server.root / "known_hosts"
    right = known.read_text()
    try:
        known.write_text("")
        with pytest.raises(DeviceError, match=r"host key .* is not known") as unknown:
            devices.open(server.name).run(["touch", str(tmp_path / "canary")])
        server.trust(sshd.keygen(tmp_path / "another"))
        with pytest.raises(DeviceError, match="has changed") as swapped:
            devices.open(server.name).run(["touch", str(tmp_path / "canary")])
    finally:
        known.write_text(right)
    assert "fingerprint" in unknown.value.hint
    assert "ssh-keygen -R" in swapped.value.hint
    assert not (tmp_path / "canary").exists()


@needs_sshd
def test_a_config_that_would_not_check_host_keys_is_overruled(
    server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(f"StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n{server.config.read_text()}")
    monkeypatch.setenv(ssh.CONFIG, str(config))
    with pytest.raises(DeviceError, match="host key"):
        devices.open(server.name).run(["true"])


@needs_sshd
def test_a_refused_login_says_so(
    server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sshd.keygen(tmp_path / "stranger")
    config = tmp_path / "config"
    config.write_text(server.config.read_text().replace(f"{server.root}/client_key", f"{tmp_path}/stranger"))
    monkeypatch.setenv(ssh.CONFIG, str(config))
    with pytest.raises(DeviceError, match=r"refused the login.*Permission denied") as caught:
        devices.open(server.name).run(["true"])
    assert f"ssh-copy-id -p {server.port}" in caught.value.hint


@needs_sshd
def test_nobody_there(server: sshd.Server) -> None:
    with pytest.raises(DeviceError, match=r"is not reachable.*refused") as caught:
        devices.open(server.at(sshd.free_port())).run(["true"])
    assert not isinstance(
        caught.value, ssh.ConnectionLost
    )  # a first attempt is not retried: the address is wrong


@needs_sshd
def test_no_python_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sshd.running(tmp_path / "s", {"PATH": str(tmp_path)}) as bare:
        monkeypatch.setenv(ssh.CONFIG, str(bare.config))
        with pytest.raises(DeviceError, match="has no python3") as caught:
            devices.open(bare.name).run(["true"])
    assert "apt install python3" in caught.value.hint


@needs_sshd
def test_the_master_ends_with_us_and_leaves_no_folder(server: sshd.Server, tmp_path: Path) -> None:
    script = (
        "import os, signal; from jetpress.deploy.device import device\n"
        f"d = device.open({server.name!r}); d.run(['true'])\n"
        "print(d._connection._master.pid, d._connection._folder, flush=True)\n"
    )
    for ending, is_tidy in (("", True), ("os.kill(os.getpid(), signal.SIGKILL)", False)):
        done = subprocess.run([sys.executable, "-c", script + ending], stdout=subprocess.PIPE, text=True)
        pid, folder = done.stdout.split()
        assert until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
        assert Path(folder).exists() != is_tidy or not any(Path(folder).iterdir())
