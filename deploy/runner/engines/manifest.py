"""Reading a bundle: every byte is held against manifest.json before anything else opens it."""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from .. import backends
from ..interface.settings import Input, Settings, capabilities
from ..system.failures import BundleError, DigestMismatch
from ..system.files import contained, read_json, safe_name, verify

PLACES: Dict[str, Optional[int]] = {"gpu": None, "dla0": 0, "dla1": 1}  # the core of the DLA
NUMBERS = ("workspace_mb", "threads", "optimization_level")  # of the plan: whole, or None for the default
PRECISIONS = ("fp32", "fp16", "int8", "fp8")
MEMORIES = (None, "copied", "mapped")  # of inputs and outputs
PROVIDERS = (None, "cpu", "cuda")  # of ONNX Runtime


class File(NamedTuple):
    """What makes a file of a bundle the one that was meant."""

    sha256: str
    size: int


class Model(NamedTuple):
    """One network; what it does not say itself, the plan says for all."""

    file: str
    precision: str
    sparse: bool
    strongly_typed: bool
    dla_core: Optional[int]
    twin_of: Optional[str]  # the same network built in another way, to be compared with
    placed_from: Optional[str] = None  # the same network on another place of the board
    mapped_from: Optional[str] = None  # the same engine without copies
    implicit: Optional[Tuple[str, str]] = (
        None  # the file without Q/DQ, and the ranges of its tensors: for a DLA
    )
    ranges: Optional[str] = None  # the ranges that this one is built with

    def on(self, core: Optional[int]) -> "Model":
        """The same on the GPU (None) or a core of the DLA, which may take INT8 in another way."""
        if core is None or self.precision != "int8" or self.implicit is None:
            return self._replace(dla_core=core)
        file, ranges = self.implicit
        return self._replace(dla_core=core, file=file, ranges=ranges)


class Bundle:
    """A verified bundle: its plan, and the paths of the files that its manifest vouches for."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.files = listed(root)
        for name, entry in sorted(self.files.items()):
            verify(contained(root, name), entry.sha256, entry.size)
        self.plan = _checked(read_json(self.path("plan.json")))
        self.any_power_mode = False  # whether engines may be run that were built in another one
        self.backend, self.precision = str(self.plan["backend"]), str(self.plan["precision"])
        self.models = _models(self.plan)
        self.inputs = _inputs(self.plan)
        self.capabilities = capabilities(self.plan)
        self.numbers = {name: _whole(self.plan.get(name), name) for name in NUMBERS}
        for model in self.models.values():
            self.path(model.file)

    def part(self, name: str) -> Dict[str, object]:
        """An object of the plan; empty where it has none."""
        part = self.plan.get(name) or {}
        _require(isinstance(part, dict), "%s must be an object" % name)
        return part if isinstance(part, dict) else {}

    def chosen(self) -> str:
        """The model that it is about."""
        return "compressed" if "compressed" in self.models else sorted(self.models)[0]

    def only_chosen(self) -> None:
        """Leave out what is there to be compared with."""
        self.models = {self.chosen(): self.models[self.chosen()]}

    def place(self, places: Sequence[str]) -> None:
        """Every model on each of these places: `gpu` keeps its name, `dla1` makes `<model>-dla1` of it."""
        placed: Dict[str, Model] = {}
        for name, model in self.models.items():
            for where in places:
                core = PLACES[where]
                variant = model.on(core)._replace(placed_from=name)
                placed[name if core is None else "%s-%s" % (name, where)] = variant
        self.models = placed

    def also_mapped(self) -> None:
        """Every model a second time, as `<model>-mapped`: its engine with memory that CPU and GPU share."""
        if self.part("benchmark").get("memory") == "mapped":
            twins = {
                "%s-mapped" % name: model._replace(mapped_from=name, twin_of=None, placed_from=None)
                for name, model in self.models.items()
            }
            self.models.update(twins)

    def settings(self, name: str) -> Settings:
        """How the engine of one model is to be built."""
        model = self.models[name]
        return Settings(
            model=name,
            precision=model.precision,
            inputs=self.inputs,
            onnx_sha256=self.sha256(model.file),
            sparse=model.sparse,
            workspace_mb=self.numbers["workspace_mb"],
            threads=self.numbers["threads"],
            strongly_typed=model.strongly_typed,
            optimization_level=self.numbers["optimization_level"],
            dla_core=model.dla_core,
            compute_capabilities=self.capabilities,
            ranges=None if model.ranges is None else _ranges(read_json(self.path(model.ranges))),
        )

    def path(self, name: str) -> str:
        """Where a file is; only files of the manifest exist for us."""
        self.sha256(name)
        return contained(self.root, name)

    def sha256(self, name: str) -> str:
        """The digest that the manifest promises."""
        if name not in self.files:
            raise DigestMismatch(
                "%s is not in the bundle's manifest, so nothing vouches for it" % name,
                "make the bundle again",
            )
        return self.files[name].sha256

    def sample(self, name: str) -> Optional[str]:
        """The path of samples/<name>.npy, or None where the bundle brings none."""
        file = "samples/%s.npy" % safe_name(name)
        return self.path(file) if file in self.files else None


def listed(root: str) -> Dict[str, File]:
    """What manifest.json promises of each file."""
    path = os.path.join(root, "manifest.json")
    if not os.path.isdir(root):
        raise BundleError("there is no folder %s" % root, "name the bundle's folder with --bundle")
    if not os.path.isfile(path):
        raise DigestMismatch(
            "%s is missing, so no file of this bundle can be checked" % path,
            "name the bundle's folder with --bundle",
        )
    manifest = read_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not files:
        raise DigestMismatch("%s lists no files" % path, "make the bundle again")
    entries: Dict[str, File] = {}
    for name, entry in files.items():
        whole = (
            isinstance(entry, dict)
            and isinstance(entry.get("size"), int)
            and re.match(r"[0-9a-f]{64}\Z", str(entry.get("sha256")))
        )
        if not whole:
            raise DigestMismatch(
                "%s: the entry of %r has no size and sha256" % (path, name), "make the bundle again"
            )
        entries[name] = File(entry["sha256"], entry["size"])
    return entries


def _checked(plan: object) -> Dict[str, object]:
    """Refuse a plan that we would misread."""
    if not isinstance(plan, dict):
        raise _misread("it must be an object")
    known = backends.names()
    _require(plan.get("format") == 1, "format must be 1")
    _require(plan.get("backend") in known, "backend must be one of %s" % ", ".join(known))
    timed = plan.get("benchmark") or {}
    memory = timed.get("memory") if isinstance(timed, dict) else None
    _require(memory in MEMORIES, "benchmark.memory must be copied or mapped")
    _require(plan.get("provider") in PROVIDERS, "provider must be cpu or cuda")
    _require(plan.get("precision") in PRECISIONS, "precision must be one of %s" % ", ".join(PRECISIONS))
    return plan


def _models(plan: Dict[str, object]) -> Dict[str, Model]:
    listed = plan.get("models")
    if not isinstance(listed, dict) or not listed:
        raise _misread("models must name at least one model")
    models: Dict[str, Model] = {}
    for name, model in listed.items():
        _require(safe_name(name) == name, "the model name %r cannot be a file name" % name)
        if not isinstance(model, dict) or not isinstance(model.get("file"), str):
            raise _misread("model %s names no file" % name)
        precision, twin_of = model.get("precision", plan["precision"]), model.get("twin_of")
        _require(
            precision in PRECISIONS,
            "model %s: precision must be one of %s" % (name, ", ".join(PRECISIONS)),
        )
        core = _whole(model.get("dla_core", plan.get("dla_core")), "dla_core of model %s" % name)
        made = Model(
            file=model["file"],
            precision=precision,
            sparse=bool(model.get("sparse")),
            strongly_typed=bool(model.get("strongly_typed", plan.get("strongly_typed"))),
            dla_core=None,
            twin_of=None if twin_of is None else str(twin_of),
            implicit=_implicit(model.get("implicit"), name),
        )
        models[name] = made.on(core)
    return models


def _implicit(entry: object, name: str) -> Optional[Tuple[str, str]]:
    if entry is None:
        return None
    both = entry if isinstance(entry, dict) else {}
    file, ranges = both.get("file"), both.get("ranges")
    if not isinstance(file, str) or not isinstance(ranges, str):
        raise _misread("implicit of model %s must name a file and its ranges" % name)
    return file, ranges


def _ranges(told: object) -> Dict[str, float]:
    read = told if isinstance(told, dict) else {}
    numbers = {
        str(name): value for name, value in read.items() if isinstance(value, float) and 0 < value < 1e38
    }
    _require(bool(read) and len(numbers) == len(read), "ranges must be numbers above 0")
    return numbers


def _inputs(plan: Dict[str, object]) -> List[Input]:
    listed = plan.get("inputs")
    if not isinstance(listed, list) or not listed:
        raise _misread("inputs must name at least one input")
    inputs: List[Input] = []
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _misread("an input has no name")
        _require(_is_shape(entry.get("shape")), "input %s: shape must be positive numbers" % entry["name"])
        profile = entry.get("profile")
        bounds = profile if isinstance(profile, dict) else {}
        _require(
            profile is None or all(_is_shape(bounds.get(key)) for key in ("min", "opt", "max")),
            "input %s: profile needs min, opt, max" % entry["name"],
        )
        inputs.append(Input(entry["name"], entry["shape"], profile))
    return inputs


def _whole(value: object, name: str) -> Optional[int]:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _misread("%s must be a whole number" % name)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _misread(what)


def _misread(what: str) -> BundleError:
    return BundleError("plan.json: " + what, "make the bundle again with the jetpress that made this runner")
