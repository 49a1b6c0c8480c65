"""What a device really is, and whether it is the target.

A small program (`deploy/device/scripts/survey.py`) collects the texts, `deploy/device/board.py` reads them, this
module draws the conclusions: an engine runs only on the GPU and the TensorRT that built it, so a wrong device is
refused before anything is sent to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.device import board
from jetpress.deploy.device.device import Device, Local
from jetpress.deploy.errors import DeviceError, TrustError
from jetpress.deploy.fields import Fields
from jetpress.deploy.process import Terms, plain
from jetpress.deploy.runner.board.identity import part_number
from jetpress.deploy.runner.board.power_modes import ALL
from jetpress.deploy.runner.system.remedies import allowed
from jetpress.deploy.runner.trust.signers import FILE, REQUIRED
from jetpress.deploy.targets import TARGETS, Target

SURVEY_S = 90.0
LEAST_RAM_MB = 500
"""What TensorRT's builder needs beside the network; with less the kernel's out-of-memory killer comes."""
LEAST_DISK_MB = 300
MODULES = tuple(sorted({one.module for one in BACKENDS.values() if not one.ahead_of_time}))
"""Of all backends whose engines are built on a device."""
PACKAGES = ("numpy", *MODULES)
LEAST_SHARE = 0.75
"""Of a target's memory: firmware keeps some of it for itself, the next smaller module has half."""
DEVICE_TREE = Path("/proc/device-tree/compatible")


@dataclass(frozen=True)
class Facts:
    """What the device is. Empty or None: the device does not have it, or does not say."""

    name: str
    model: str = ""
    """``NVIDIA Jetson Orin Nano Developer Kit``."""
    compatible: tuple[str, ...] = ()
    soc: str = ""
    """``tegra234``."""
    module: str = ""
    """``Orin Nano``; the part that targets differ in."""
    l4t: str = ""
    jetpack: str = ""
    system: str = ""
    machine: str = ""
    cpu: str = ""
    cores: int = 0
    gpu: str = ""
    compute_capability: tuple[int, int] | None = None
    cuda: str = ""
    tensorrt: str = ""
    """Version that Python imports, or that is installed where the import fails."""
    tensorrt_error: str = ""
    """Why ``import tensorrt`` failed although it is installed."""
    python: str = ""
    pip_refuses: bool = False
    """Its python3 belongs to apt (PEP 668)."""
    numpy: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Of the backends that a device may run: Python module -> the version that its python3 imports."""
    trtexec: str = ""
    dla_compiler: bool = False
    """``libnvdla_compiler.so`` is here: without it TensorRT up to 10.7 cannot even be imported."""
    ram_free_mb: int = 0
    ram_total_mb: int = 0
    disk_free_mb: int = 0
    power_mode: str = ""
    power_mode_number: int | None = None
    power_modes: Mapping[int, str] = field(default_factory=dict)
    power_mode_default: int | None = None
    wants_signature: bool = False
    """Its own file refuses bundles that are not signed."""

    @property
    def title(self) -> str:
        """The board in words; a machine without a device tree by its processor."""
        return self.model or self.gpu or self.cpu or "an unknown machine"

    @property
    def is_jetson(self) -> bool:
        """A Tegra of NVIDIA's."""
        return bool(self.soc or self.l4t)


def probe(device: Device) -> Facts:
    """Ask the device what it is.

    Raises:
        DeviceError: it cannot be reached, or its answer makes no sense.
    """
    answer = device.channel().talk(
        "survey", {"folder": device.folder, "packages": PACKAGES}, Terms(timeout=SURVEY_S)
    )
    return read(device.name, answer)


def read(name: str, survey: Mapping[str, object]) -> Facts:
    """Facts out of the answer of `deploy/device/scripts/survey.py`. Its texts are the device's: they are made plain."""
    answer = Fields(survey)
    try:
        texts, commands = answer.inside("files"), answer.inside("commands")
        files = {key: texts.verbatim(key) for key in texts.values}
        printed = {key: commands.inside(key).verbatim("out") for key in commands.values}
        return _facts(plain(name), files, printed, answer)
    except ValueError as error:  # also of a number that is none, in a text
        raise DeviceError(
            f"{name} describes itself in a way that makes no sense: {error!s:.100}",
            "see what its python3 is, and whether a login script prints text",
        ) from error


def _facts(name: str, files: Mapping[str, str], printed: Mapping[str, str], survey: Fields) -> Facts:
    model = plain(" ".join(board.device_tree(files.get("model", ""))))
    compatible = tuple(plain(entry) for entry in board.device_tree(files.get("compatible", "")))
    soc = board.soc(compatible)
    gpu, capability = board.gpu(printed.get("nvidia_smi", ""))
    release = board.l4t(files.get("nv_tegra_release", ""), printed.get("dpkg_core", ""))
    imports = {package: _imported(survey, package) for package in PACKAGES}
    tensorrt, tensorrt_error = imports["tensorrt"]
    ram_free, ram_total = board.memory_mb(files.get("meminfo", ""))
    mode = board.power_mode(printed.get("nvpmodel", ""))
    modes, default = board.power_modes(files.get("nvpmodel_conf", ""))
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', files.get("os_release", ""), re.MULTILINE)
    return Facts(
        name=name,
        model=model,
        compatible=compatible,
        soc=soc,
        module=board.module(model, compatible),
        l4t=release,
        jetpack=board.jetpack(release),
        system=plain(system[1]) if system else "",
        machine=survey.text("machine"),
        cpu=plain(board.cpu(files.get("cpuinfo", ""))),
        cores=0 if survey.is_null("cores") else survey.integer("cores"),
        gpu=plain(gpu),
        compute_capability=board.COMPUTE_CAPABILITY.get(soc, capability),
        cuda=board.cuda(files.get("cuda_json", ""), files.get("cuda_txt", ""), files.get("cuda_header", "")),
        tensorrt=plain(tensorrt or board.dpkg_version(printed.get("dpkg_tensorrt", ""))),
        tensorrt_error=plain(tensorrt_error),
        python=survey.text("python"),
        pip_refuses=survey.flag("pip_refuses"),
        numpy=plain(imports["numpy"][0]),
        modules={name: plain(imports[name][0]) for name in MODULES},
        trtexec=survey.text("trtexec"),
        dla_compiler=survey.flag("dla_compiler"),
        ram_free_mb=ram_free,
        ram_total_mb=ram_total,
        disk_free_mb=survey.integer("disk_free") // 2**20,
        power_mode=plain(mode.name),
        power_mode_number=mode.number,
        power_modes={number: plain(text) for number, text in modes.items()},
        power_mode_default=default,
        wants_signature=REQUIRED in map(str.split, files.get("allowed_signers", "").splitlines()),
    )


def _imported(survey: Fields, package: str) -> tuple[str, str]:
    """Version and error of a package; none of both where it was not asked for."""
    commands, name = survey.inside("commands"), f"import_{package}"
    return board.imported(package, commands.inside(name).values if name in commands.values else None)


def identity(facts: Facts) -> dict[str, object]:
    """What makes an engine valid and a timing comparable: the part for cache keys."""
    capability = facts.compute_capability
    return {
        "board": facts.model,
        "module": facts.module,
        "part": part_number(facts.compatible) or "",
        "power_mode": facts.power_mode,
        "l4t": facts.l4t,
        "tensorrt": facts.tensorrt,
        "compute_capability": f"{capability[0]}.{capability[1]}" if capability else "",
        "gpu": facts.gpu,
        "machine": facts.machine,
        **{name: version for name, version in facts.modules.items() if name != "tensorrt"},
        "cpu": facts.cpu,
        "cores": facts.cores,
    }


def is_this_machine(target: Target) -> bool:
    """Whether jetpress runs on the very board that ``target`` names."""
    if not target.is_board or not DEVICE_TREE.exists():
        return False
    return not differences(probe(Local()), target)


def differences(facts: Facts, target: Target) -> list[str]:
    """What keeps an engine for ``target`` from running on the device: found and wanted, both named."""
    if not target.is_board:
        return []
    has, wanted = facts.compute_capability, target.compute_capability
    differing = []
    if not facts.is_jetson:
        differing.append(f"it is {facts.title}, the target is a {target.title}")
    elif not facts.module and not facts.compute_capability:
        differing.append(f"its board is not known ({facts.title}), the target is a {target.title}")
    elif facts.module and facts.module != target.module:
        differing.append(f"it is a {facts.module} ({facts.title}), the target is a {target.title}")
    if has and wanted and has != wanted:
        differing.append(f"its compute capability is {_dotted(has)}, the target's is {_dotted(wanted)}")
    if facts.tensorrt and _series(facts.tensorrt) != _series(target.tensorrt):
        differing.append(f"it has TensorRT {facts.tensorrt}, the target is for {target.tensorrt}")
    if facts.ram_total_mb and facts.ram_total_mb < LEAST_SHARE * 1024 * target.ram_gb:
        memory = f"{facts.ram_total_mb / 1024:.1f} GB of memory"
        differing.append(f"it has {memory}, the target has {target.ram_gb:g}")
    if target.power_mode and facts.power_mode != target.power_mode:
        mode = facts.power_mode or "unknown"
        differing.append(f"it is in power mode {mode}, the target is for {target.power_mode}")
    return differing


def fitting(facts: Facts) -> list[Target]:
    """Targets whose engines the device can build and run; of a board the nearest in memory, its power mode first."""
    if not facts.is_jetson:
        others = [target for target in TARGETS.values() if not target.is_board]
        have = [target for target in others if facts.modules.get(target.runtime.module)]
        return [target for target in have if facts.gpu or not target.runtime.needs_gpu]
    fit = [target for target in TARGETS.values() if target.is_board and not differences(facts, target)]
    most = max((target.ram_gb for target in fit), default=0.0)
    return sorted((one for one in fit if one.ram_gb == most), key=lambda one: not one.power_mode)


def refuse_unless(facts: Facts, target: Target) -> None:
    """Refuse a device that is not the target, or on which the work cannot succeed.

    Raises:
        DeviceError: what differs, with both versions, and the remedy.
    """
    if differing := differences(facts, target):
        raise DeviceError(
            f"{facts.name} is not the target {target.name}: {'; '.join(differing)}", _remedy(facts)
        )
    for what, hint in _missing(facts, target):
        raise DeviceError(f"{facts.name} ({facts.title}): {what}", hint)


def refuse_unless_in(facts: Facts, power_mode: str) -> None:
    """Refuse a board in another power mode than the one asked for.

    Raises:
        DeviceError: both modes, and the command that changes it.
    """
    if facts.power_mode.casefold() == power_mode.casefold():
        return
    number = next(
        (n for n, name in facts.power_modes.items() if name.casefold() == power_mode.casefold()), None
    )
    known = ", ".join(facts.power_modes.values()) or "none that nvpmodel tells of"
    raise DeviceError(
        f"{facts.name} is in power mode {facts.power_mode or 'unknown'}, the recipe asks for {power_mode}",
        f"sudo nvpmodel -m {number} there" if number is not None else f"its modes are: {known}",
    )


def refuse_unknown_modes(facts: Facts, asked: str) -> None:
    """Refuse power modes that the board does not have; ``all``, or names or numbers with commas.

    Raises:
        DeviceError: the first that is not there, and those that are.
    """
    known = ", ".join(f"{number} ({name})" for number, name in facts.power_modes.items())
    if not known:
        raise DeviceError(f"{facts.name} tells of no power modes", "leave benchmark.power_modes out")
    names = {word for number, name in facts.power_modes.items() for word in (str(number), name)}
    for word in asked.split(","):
        if word not in names and asked != ALL:
            raise DeviceError(f"{facts.name} has no power mode {word!r}", f"its modes are: {known}")


def refuse_unsigned(facts: Facts) -> None:
    """Refuse a board that takes releases only: what a run sends is not signed.

    Raises:
        TrustError: its file asks for signatures.
    """
    if facts.wants_signature:
        raise TrustError(
            f"{facts.name} takes signed releases only ({REQUIRED[0]} in its {FILE}), and a run is not signed",
            "build on another board of this kind; what you release from it (`jetpress release`) this one takes",
        )


def _missing(facts: Facts, target: Target) -> Iterator[tuple[str, str]]:
    """What is not there or too little, each with its remedy; the most basic first."""
    runtime = target.runtime
    if target.is_board and not facts.tensorrt:
        what = f"its python3 ({facts.python}) has no TensorRT, the target has {target.tensorrt}"
        yield what, "install JetPack's packages there: sudo apt install nvidia-jetpack"
    if runtime.needs_gpu and not target.is_board and not facts.gpu:
        what = f"it has no NVIDIA GPU (nvidia-smi tells of none), and {target.title} is the target"
        yield (
            what,
            "run it where one is (--device user@host); without one: --target rtx builds, --target host runs",
        )
    if runtime.in_jetpack and facts.tensorrt_error:
        what = f"TensorRT {facts.tensorrt} is installed, but its python3 ({facts.python}) cannot import it"
        hint = "install its Python package there: sudo apt install python3-libnvinfer"
        if not target.is_board:
            hint = f"install it again there: {allowed(runtime.install, facts.pip_refuses)}"
        if "nvdla_compiler" in facts.tensorrt_error:
            hint = "install the missing library there: sudo apt install nvidia-l4t-dla-compiler (JetPack 6)"
        yield f"{what}: {facts.tensorrt_error}", hint
    if not facts.numpy:
        yield "its python3 has no numpy", "install it there: sudo apt install python3-numpy"
    if not target.is_board and not facts.modules.get(runtime.module):
        yield (
            f"its python3 has no {runtime.module}",
            f"install it there: {allowed(runtime.install, facts.pip_refuses)}",
        )
    if facts.ram_free_mb < LEAST_RAM_MB:
        what = f"too little memory: {LEAST_RAM_MB} MiB are needed, {facts.ram_free_mb} MiB are free"
        yield what, "stop other programs there; `sudo systemctl isolate multi-user` frees the desktop's share"
    if facts.disk_free_mb < LEAST_DISK_MB:
        what = f"too little disk: {LEAST_DISK_MB} MiB are needed, {facts.disk_free_mb} MiB are free"
        yield what, "free some there; `jetpress device clean` empties the working folder"


def _remedy(facts: Facts) -> str:
    names = [target.name for target in fitting(facts)]
    if names and facts.is_jetson:
        return f"use --target {' or --target '.join(names)}"
    if not facts.is_jetson:
        return "give the address of the board with --device, or use --target host"
    known = f"{facts.module or facts.title}, TensorRT {facts.tensorrt or '?'}, L4T {facts.l4t or '?'}"
    return f"no target fits this board ({known}): use --target board, which is what the board says of itself"


def _series(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
