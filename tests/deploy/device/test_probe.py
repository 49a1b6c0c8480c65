"""What boards say of themselves is read as it is; what is not the target is refused, with a remedy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetpress.deploy.device import board, derived, probe
from jetpress.deploy.device.device import Local
from jetpress.deploy.device.probe import Facts, refuse_unless
from jetpress.deploy.errors import DeviceError, TrustError
from jetpress.deploy.process import Completed
from jetpress.deploy.targets import TARGETS

PROBES = Path(__file__).parents[2] / "probes"
BOARDS: list[dict[str, Any]] = json.loads((PROBES / "device_tree.json").read_text())
MODES: dict[str, Any] = json.loads((PROBES / "nvpmodel_modes.json").read_text())
ORIN_NANO = Facts(
    name="nvidia@orin",
    model="NVIDIA Jetson Orin Nano Developer Kit",
    compatible=("nvidia,p3768-0000+p3767-0005", "nvidia,tegra234"),
    soc="tegra234",
    module="Orin Nano",
    l4t="36.4.3",
    jetpack="6.2",
    machine="aarch64",
    compute_capability=(8, 7),
    tensorrt="10.3.0",
    python="3.10.12",
    numpy="1.21.5",
    dla_compiler=True,
    ram_free_mb=5000,
    ram_total_mb=7620,
    disk_free_mb=20000,
)
HOST = Facts(
    name="local", cpu="AMD EPYC", machine="x86_64", python="3.11.7", numpy="2", modules={"onnxruntime": "1.31.1"},
    ram_free_mb=9000, disk_free_mb=9000,
)  # fmt: skip


def text(name: str) -> str:
    return (PROBES / name).read_text()


# --- parsers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "releases", "jetpack"),
    [
        ("r32.7.1", ["32.7.1"], "4.6.1"),
        ("r34.1.1", ["34.1.1"], "5.0.1 DP"),
        ("r35", ["35.2.1", "35.3.1", "35.3.1"], "5.1"),
        ("r36.4.3_orin_nano", ["36.4.3"], "6.2"),
        ("r36.4.4", ["36.4.4"], "6.2.1"),
        ("r38.2.0_thor", ["38.2.0"], "7.0"),
        ("r38.4.0_thor", ["38.4.0"], "7.1"),
        ("r39.2.0", ["39.2.0"], "7.2"),
    ],
)
def test_nv_tegra_release(name: str, releases: list[str], jetpack: str) -> None:
    recorded = text(f"nv_tegra_release_{name}.txt")
    lines = [line for line in recorded.splitlines() if "release" in line]
    assert [board.l4t(line) for line in lines] == releases
    assert board.jetpack(board.l4t(recorded)) == jetpack


def test_every_release_file_is_tried() -> None:
    assert len(list(PROBES.glob("nv_tegra_release_*"))) == 8


def test_every_recorded_file_belongs_to_a_parser() -> None:
    """A file that is added here is parsed by a test, or this one says that it is not."""
    kinds = {"nv_tegra_release": 8, "nvpmodel_q": 4, "tegrastats": 15, "trtexec": 3, "trt_sparsity_log_lines": 1,
             "device_tree": 1, "nvpmodel_modes": 1, "README": 1, "survey": len(NAMED)}  # fmt: skip
    names = [path.name for path in PROBES.iterdir()]
    found = {kind: sum(name.startswith(kind) for name in names) for kind in kinds}
    assert found == kinds
    assert sum(found.values()) == len(names)


def test_l4t_from_dpkg_where_the_file_is_missing() -> None:
    said = "Package: nvidia-l4t-core\nStatus: install ok installed\nVersion: 36.4.7-20250918154033\n"
    assert board.l4t("", said) == "36.4.7"
    assert board.l4t("", "") == board.l4t("# no release here") == ""


def test_an_l4t_that_nobody_knows_has_no_jetpack() -> None:
    assert board.jetpack("40.1.0") == board.jetpack("") == ""


@pytest.mark.parametrize("recorded", BOARDS, ids=[entry["model"] for entry in BOARDS])
def test_device_trees(recorded: dict[str, Any]) -> None:
    model = board.device_tree(recorded["model"] + "\0")
    compatible = board.device_tree("".join(f"{entry}\0" for entry in recorded["compatible"] or ()))
    assert model == (recorded["model"],)
    assert list(compatible) == (recorded["compatible"] or [])
    named = board.module(recorded["model"], ())
    assert named in ("Orin Nano", "Orin NX", "AGX Thor", "AGX Orin", "Nano")
    assert board.module(recorded["model"], compatible) == named  # the part number says the same as the words
    if soc := board.soc(compatible):
        assert board.COMPUTE_CAPABILITY[soc] == {"Orin Nano": (8, 7), "AGX Thor": (11, 0)}[named]


@pytest.mark.parametrize(
    ("compatible", "soc", "module"),
    [
        (
            ["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"],
            "tegra210",
            "Nano",
        ),
        (["nvidia,p2771-0000+p3310-1000", "nvidia,tegra186"], "tegra186", "TX2"),
        (["nvidia,p2972-0000", "nvidia,p2822-0000+p2888-0001", "nvidia,tegra194"], "tegra194", "AGX Xavier"),
        (["nvidia,p3509-0000+p3668-0001", "nvidia,tegra194"], "tegra194", "Xavier NX"),
        (["nvidia,p3768-0000+p3767-0000-super", "nvidia,tegra234"], "tegra234", "Orin NX"),
        (["nvidia,p3767-0009", "nvidia,tegra234", "nvidia,tegra23x"], "tegra234", ""),
        (["raspberrypi,4-model-b", "brcm,bcm2711"], "", ""),
        (["nvidia,tegra23x"], "", ""),
        ([], "", ""),
    ],
)
def test_the_part_number_decides(compatible: list[str], soc: str, module: str) -> None:
    assert board.soc(compatible) == soc
    assert board.module("", compatible) == module


def test_words_alone_do_not_make_a_jetson() -> None:
    assert board.module("Arduino Nano", ()) == ""
    assert board.module("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", ()) == "Orin NX"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("orin_maxn", ("MAXN", 0)),
        ("orin_nano_25w", ("25W", 1)),
        ("fan_warning", ("MODE_15W", 2)),
        ("verbose_orin_nano_head", ("25W", 1)),
    ],
)
def test_nvpmodel_q(name: str, mode: tuple[str, int]) -> None:
    found = board.power_mode(text(f"nvpmodel_q_{name}.txt"))
    assert (found.name, found.number) == mode
    assert board.power_mode("").number is None


@pytest.mark.parametrize("name", sorted(key for key, value in MODES.items() if key != "note"))
def test_nvpmodel_conf(name: str) -> None:
    """The recorded modes of each board in the layout of its /etc/nvpmodel.conf."""
    recorded = MODES[name]["modes"]
    conf = "# FAN CONFIG\n< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_0 /sys/x\n"
    for number, mode in recorded.items():
        conf += f"< POWER_MODEL ID={number} NAME={mode.split()[0]} >\nCPU_ONLINE CORE_0 1\n"
    modes, default = board.power_modes(conf + "# mandatory section\n< PM_CONFIG DEFAULT=2 >\n")
    assert modes == {int(number): mode.split()[0] for number, mode in recorded.items()}
    assert default == 2
    assert board.power_modes("") == ({}, None)


def test_tensorrt_from_dpkg() -> None:
    listing = "libnvinfer-bin 8.5.2-1+cuda11.4\nlibnvinfer8 8.5.2-1+cuda11.4\n"
    assert board.dpkg_version(listing) == "8.5.2"
    assert (
        board.dpkg_version("libnvinfer8 8.6.2.3-1+cuda12.2\nlibnvinfer10 10.3.0.30-1+cuda12.5\n")
        == "10.3.0.30"
    )
    assert board.dpkg_version("dpkg-query: no packages found\n") == ""


def test_cuda_from_any_place() -> None:
    assert (
        board.cuda('{"cuda" : {"name" : "CUDA SDK","version" : "12.6.11"}, "x": {"version": "1.0"}}', "", "")
        == "12.6"
    )
    assert board.cuda("", "CUDA Version 10.2.300\n", "") == "10.2"
    assert board.cuda("", "", "#define CUDA_VERSION 11040\n") == "11.4"
    assert board.cuda("", "", "") == ""


def test_imports_that_fail_say_why() -> None:
    missing = {
        "status": 1,
        "out": "",
        "err": "Traceback ...\nModuleNotFoundError: No module named 'tensorrt'\n",
    }
    dla = "ImportError: libnvdla_compiler.so: cannot open shared object file: No such file or directory"
    assert board.imported("tensorrt", {"status": 0, "out": "noise\nversion 10.3.0\n", "err": "warn"}) == (
        "10.3.0",
        "",
    )
    assert board.imported("tensorrt", missing) == ("", "")
    assert board.imported("tensorrt", {"status": 1, "out": "", "err": f"Traceback\n{dla}\n"}) == ("", dla)
    assert board.imported("tensorrt", {"status": -11, "out": "", "err": ""}) == (
        "",
        "it ended with status -11",
    )
    assert board.imported("tensorrt", None) == ("", "")


def test_memory_cpu_and_gpu() -> None:
    assert board.memory_mb("MemTotal: 7802880 kB\nMemFree: 1 kB\nMemAvailable:  5120000 kB\n") == (5000, 7620)
    assert board.memory_mb("") == (0, 0)
    assert board.cpu("processor : 0\nmodel name\t: AMD EPYC\n") == "AMD EPYC"
    assert board.cpu("CPU implementer\t: 0x41\nCPU part\t: 0xd42\n") == "implementer 0x41 part 0xd42"
    assert board.gpu("NVIDIA H200, 9.0\n") == ("NVIDIA H200", (9, 0))
    assert board.gpu("Orin (nvgpu), [N/A]\n") == board.gpu("") == ("", None)


@given(st.text(max_size=400))
@settings(max_examples=200)
def test_no_parser_falls_over(noise: str) -> None:
    for parse in (
        board.l4t,
        board.power_mode,
        board.power_modes,
        board.dpkg_version,
        board.memory_mb,
        board.cpu,
        board.gpu,
    ):
        parse(noise)
    board.module(noise, board.device_tree(noise))
    board.soc(board.device_tree(noise))
    board.cuda(noise, noise, noise)
    board.imported("tensorrt", {"status": 0, "out": noise, "err": noise})


# --- the whole probe ------------------------------------------------------------------------------


def test_this_machine_describes_itself(tmp_path: Path) -> None:
    facts = probe.probe(Local(tmp_path / "not made yet"))
    assert facts.name == "local"
    assert facts.cores > 0
    assert facts.ram_total_mb > facts.ram_free_mb > 0
    assert facts.disk_free_mb > 0
    assert (facts.numpy, facts.modules["onnxruntime"]) != ("", "")
    assert not (tmp_path / "not made yet").exists()
    identity = probe.identity(facts)
    assert json.loads(json.dumps(identity)) == identity
    assert "ram_free_mb" not in identity


def survey(**files: str) -> dict[str, Any]:
    return {
        "files": files,
        "commands": {"import_tensorrt": {"status": 0, "out": "version 8.5.2.2\n", "err": ""}},
        "python": "3.8.10",
        "pip_refuses": False,
        "machine": "aarch64",
        "cores": 8,
        "dla_compiler": True,
        "trtexec": "",
        "disk_free": 2**34,
    }


@pytest.mark.parametrize(
    ("said", "wants"),
    [("", False), ("# require-signature\n", False), ("a ssh-ed25519 A\n  require-signature \n", True)],
)
def test_a_board_that_takes_releases_only_is_refused_before_a_run(said: str, wants: bool) -> None:
    facts = probe.read("b", survey(model="Jetson-AGX\0", allowed_signers=said))
    assert facts.wants_signature is wants
    if wants:
        with pytest.raises(TrustError, match="takes signed releases only"):
            probe.refuse_unsigned(facts)
    else:
        probe.refuse_unsigned(facts)


def test_facts_of_a_recorded_board() -> None:
    facts = probe.read(
        "xavier",
        survey(
            model="Jetson-AGX\0",
            compatible="nvidia,p2972-0000\0nvidia,p2822-0000+p2888-0001\0nvidia,tegra194\0",
            nv_tegra_release=text("nv_tegra_release_r35.txt"),
        ),
    )
    assert (facts.soc, facts.module, facts.compute_capability) == ("tegra194", "AGX Xavier", (7, 2))
    assert (facts.l4t, facts.jetpack, facts.tensorrt) == ("35.2.1", "5.1", "8.5.2.2")
    assert probe.differences(facts, TARGETS["xavier"]) == []


def test_an_unknown_board_is_described_and_not_guessed() -> None:
    facts = probe.read(
        "b", survey(model="NVIDIA Jetson Next\0", compatible="nvidia,p9999-0000\0nvidia,tegra999\0")
    )
    assert (facts.title, facts.soc, facts.module, facts.compute_capability) == (
        "NVIDIA Jetson Next",
        "tegra999",
        "",
        None,
    )
    with pytest.raises(DeviceError, match="its board is not known") as caught:
        refuse_unless(facts, TARGETS["xavier"])
    assert "NVIDIA Jetson Next" in caught.value.hint
    assert "--target board" in caught.value.hint


def test_what_a_hostile_board_calls_itself_is_made_plain() -> None:
    facts = probe.read("b", survey(model="\x1b[2J\u202eorin\0", compatible="nvidia,tegra194\x1b]0;\0"))
    assert facts.model == "\\u001b[2J\\u202eorin"
    assert "\x1b" not in repr(facts)


@pytest.mark.parametrize(
    "answer", [{}, {"files": 1}, {"files": {}, "commands": []}, survey() | {"disk_free": "x"}]
)
def test_a_description_that_is_none(answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "call", lambda *_: Completed(0, json.dumps(answer), ""))
    with pytest.raises(DeviceError, match="makes no sense"):
        probe.probe(Local(Path("x")))


NAMED = [name for name, target in TARGETS.items() if target.is_board]


@pytest.mark.parametrize("name", NAMED)
def test_a_target_is_one_record_and_one_probe(name: str) -> None:
    """What the board says makes it this target, before all others that fit, and nothing keeps it from the work."""
    facts, target = probe.read(name, json.loads(text(f"survey_{name}.json"))), TARGETS[name]
    refuse_unless(facts, target)
    assert probe.fitting(facts)[0].name == name
    assert derived.target_of(facts) is target
    assert target.jetpack in (facts.jetpack, "7.2.2")  # which L4T 7.2.2 has is not known
    assert target.l4t in facts.l4t


def test_the_target_of_a_board_that_no_record_knows_is_what_it_says() -> None:
    """JetPack 6 with NVIDIA's own TensorRT 10.7, an 8 GB module of it with JetPack 5, and a board of 2027."""
    told = json.loads(text("survey_orin-nx-8gb.json"))
    told["commands"]["import_tensorrt"]["out"] = "version 10.7.0.23\n"
    facts = probe.read("b", told)
    assert probe.fitting(facts) == []
    with pytest.raises(DeviceError) as caught:
        refuse_unless(facts, TARGETS["orin-nx-8gb"])
    assert "use --target board" in caught.value.hint
    target = derived.target_of(facts)
    assert (target.name, target.derived, target.tensorrt) == ("orin-nx-8gb-trt10.7.0", True, "10.7.0")
    assert (target.opset, target.newest_opset, target.lower, target.int64_io) == (18, 20, (), True)
    assert (target.dla, target.ram_gb, target.python, target.precisions) == (
        2, 8.0, "3.10", TARGETS["orin-nx"].precisions,
    )  # fmt: skip
    refuse_unless(facts, target)
    older = derived.derived(replace(facts, tensorrt="8.5.2.2", jetpack="5.1.2"))
    assert (older.opset, older.lower, older.strongly_typed) == (17, TARGETS["orin-nx-jp5"].lower, False)
    new = derived.derived(
        replace(facts, tensorrt="11.5.0", compute_capability=(12, 1), module="", soc="tegra999")
    )
    assert ("fp8" in new.precisions, new.dla, new.flags("fp16"), new.newest_opset) == (True, 0, False, 25)
    for gap, said in (("tensorrt", "which TensorRT"), ("compute_capability", "which GPU")):
        with pytest.raises(DeviceError, match=said):
            derived.derived(replace(facts, **{gap: "" if gap == "tensorrt" else None}))
    assert [one.name for one in probe.fitting(HOST)] == ["host"]
    assert [one.name for one in probe.fitting(replace(HOST, gpu="T4", modules={"tensorrt": "11.4"}))] == [
        "gpu"
    ]
    with pytest.raises(DeviceError, match="is no Jetson"):
        derived.target_of(HOST)


# --- refusals -------------------------------------------------------------------------------------


def test_the_right_board_passes() -> None:
    refuse_unless(ORIN_NANO, TARGETS["orin-nano"])
    refuse_unless(HOST, TARGETS["host"])


@pytest.mark.parametrize(
    ("facts", "target", "said", "remedy"),
    [
        (ORIN_NANO, "xavier", ["Orin Nano", "8.7", "7.2", "10.3.0", "8.5.2"], "use --target orin-nano"),
        (ORIN_NANO, "agx-orin", ["Orin Nano", "AGX Orin"], "use --target orin-nano"),
        (ORIN_NANO, "nano", ["Orin Nano", "5.3"], "use --target orin-nano"),
        (
            replace(ORIN_NANO, tensorrt="8.5.2.2"),
            "orin-nano",
            ["8.5.2.2", "10.3.0"],
            "use --target orin-nano-jp5",
        ),
        (replace(ORIN_NANO, tensorrt="10.7.0"), "orin-nano", ["10.7.0"], "use --target board"),
        (
            replace(ORIN_NANO, ram_total_mb=3700),
            "orin-nano",
            ["3.6 GB", "has 8"],
            "use --target orin-nano-4gb",
        ),
        (
            replace(ORIN_NANO, power_mode="15W"),
            "orin-nano-super",
            ["15W", "MAXN_SUPER"],
            "--target orin-nano",
        ),
        (
            replace(
                ORIN_NANO,
                module="AGX Xavier",
                compute_capability=(7, 2),
                tensorrt="8.2.1.8",
                ram_total_mb=31919,
            ),
            "xavier",
            ["8.2.1.8", "8.5.2"],
            "use --target xavier-jp4",
        ),
        (HOST, "orin-nano", ["AMD EPYC"], "--device"),
    ],
)
def test_a_board_that_is_not_the_target(facts: Facts, target: str, said: list[str], remedy: str) -> None:
    with pytest.raises(DeviceError) as caught:
        refuse_unless(facts, TARGETS[target])
    assert caught.value.what.startswith(f"{facts.name} is not the target {target}: ")
    assert all(word in caught.value.what for word in said)
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("facts", "target", "said", "remedy"),
    [
        (
            replace(ORIN_NANO, tensorrt=""),
            "orin-nano",
            "has no TensorRT, the target has 10.3.0",
            "nvidia-jetpack",
        ),
        (
            replace(ORIN_NANO, tensorrt_error="ImportError: libnvdla_compiler.so: cannot open"),
            "orin-nano",
            "TensorRT 10.3.0 is installed, but its python3 (3.10.12) cannot import it",
            "nvidia-l4t-dla-compiler",
        ),
        (replace(ORIN_NANO, numpy=""), "orin-nano", "no numpy", "python3-numpy"),
        (
            replace(ORIN_NANO, ram_free_mb=100),
            "orin-nano",
            "500 MiB are needed, 100 MiB are free",
            "multi-user",
        ),
        (
            replace(ORIN_NANO, disk_free_mb=10),
            "orin-nano",
            "300 MiB are needed, 10 MiB are free",
            "device clean",
        ),
        (HOST, "gpu", "no NVIDIA GPU", "--target rtx"),
        (replace(HOST, gpu="NVIDIA T4"), "gpu", "no tensorrt", "pip install tensorrt"),
        (replace(HOST, modules={}), "host", "no onnxruntime", "pip install onnxruntime"),
        (
            replace(HOST, modules={}, pip_refuses=True),
            "host",
            "no onnxruntime",
            "--break-system-packages onnx",
        ),
        (replace(HOST, numpy=""), "host", "no numpy", "numpy"),
    ],
)
def test_a_board_on_which_it_cannot_succeed(facts: Facts, target: str, said: str, remedy: str) -> None:
    with pytest.raises(DeviceError) as caught:
        refuse_unless(facts, TARGETS[target])
    assert said in caught.value.what
    assert remedy in caught.value.hint


def test_this_machine_is_the_target_only_on_a_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "DEVICE_TREE", tmp_path / "compatible")
    monkeypatch.setattr(probe, "probe", lambda device: ORIN_NANO)
    assert not probe.is_this_machine(TARGETS["orin-nano"])
    (tmp_path / "compatible").write_text("nvidia,tegra234\0")
    assert probe.is_this_machine(TARGETS["orin-nano"])
    assert not probe.is_this_machine(TARGETS["orin-nano-jp5"])
    assert not probe.is_this_machine(TARGETS["host"])


def test_power_modes_that_the_board_does_not_have_are_refused() -> None:
    modes = replace(ORIN_NANO, power_modes={0: "15W", 1: "25W"})
    for asked in ("all", "15W", "1,15W"):
        probe.refuse_unknown_modes(modes, asked)
    with pytest.raises(DeviceError, match="has no power mode 'MAXN'") as error:
        probe.refuse_unknown_modes(modes, "15W,MAXN")
    assert error.value.hint == "its modes are: 0 (15W), 1 (25W)"
    with pytest.raises(DeviceError, match="tells of no power modes"):
        probe.refuse_unknown_modes(HOST, "all")


def test_another_power_mode_than_the_recipe_asks_for_is_refused() -> None:
    slow = replace(
        ORIN_NANO, power_mode="15W", power_mode_number=0, power_modes={0: "15W", 1: "25W", 2: "MAXN_SUPER"}
    )
    probe.refuse_unless_in(slow, "15w")
    with pytest.raises(DeviceError, match="is in power mode 15W, the recipe asks for MAXN_SUPER") as error:
        probe.refuse_unless_in(slow, "MAXN_SUPER")
    assert "nvpmodel -m 2" in error.value.hint
    with pytest.raises(DeviceError, match="unknown") as error:
        probe.refuse_unless_in(HOST, "MAXN")
    assert "none that nvpmodel tells of" in error.value.hint
