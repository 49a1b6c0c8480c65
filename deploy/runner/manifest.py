"""Reading a bundle: every byte is held against manifest.json before anything else opens it."""

import os
import re
from typing import Any, Dict, List, Optional, Sequence

from . import backends
from .failures import BundleError, DigestMismatch
from .files import contained, read_json, safe_name, verify

PLACES: Dict[str, Optional[int]] = {"gpu": None, "dla0": 0, "dla1": 1}  # the core of the DLA
PRECISIONS = ("fp32", "fp16", "int8", "fp8")


class Bundle:
    """A verified bundle: its plan, and the paths of the files that its manifest vouches for."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.files = _manifest(root)
        for name, entry in sorted(self.files.items()):
            verify(contained(root, name), entry["sha256"], entry["size"])
        self.plan = _checked(read_json(self.path("plan.json")))
        self.models: Dict[str, Dict[str, Any]] = self.plan["models"]
        self.inputs: List[Dict[str, Any]] = self.plan["inputs"]
        for model in self.models.values():
            self.path(model["file"])

    def place(self, places: Sequence[str]) -> None:
        """Every model on each of these places: `gpu` keeps its name, `dla1` makes `<model>-dla1` of it."""
        placed: Dict[str, Dict[str, Any]] = {}
        for name, model in self.models.items():
            for where in places:
                core = PLACES[where]
                variant = dict(model, dla_core=core, placed_from=name)
                placed[name if core is None else "%s-%s" % (name, where)] = variant
        self.models = placed

    def path(self, name: str) -> str:
        """Where a file is; only files of the manifest exist for us."""
        if name not in self.files:
            raise DigestMismatch(
                "%s is not in the bundle's manifest, so nothing vouches for it" % name,
                "make the bundle again",
            )
        return contained(self.root, name)

    def sha256(self, name: str) -> str:
        """The digest that the manifest promises."""
        return str(self.files[name]["sha256"])

    def sample(self, name: str) -> Optional[str]:
        """The path of samples/<name>.npy, or None where the bundle brings none."""
        file = "samples/%s.npy" % safe_name(name)
        return self.path(file) if file in self.files else None


def _manifest(root: str) -> Dict[str, Dict[str, Any]]:
    path = os.path.join(root, "manifest.json")
    if not os.path.isfile(path):
        raise DigestMismatch(
            "%s is missing, so no file of this bundle can be checked" % path,
            "name the bundle's folder with --bundle",
        )
    manifest = read_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not files:
        raise DigestMismatch("%s lists no files" % path, "make the bundle again")
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
    return files


def _checked(plan: Any) -> Dict[str, Any]:
    """Refuse a plan that we would misread. Numbers are used as they come; only what steers us is checked."""
    _require(isinstance(plan, dict) and plan.get("format") == 1, "format must be 1")
    known = backends.names()
    _require(plan.get("backend") in known, "backend must be one of %s" % ", ".join(known))
    _require(plan.get("precision") in PRECISIONS, "precision must be one of %s" % ", ".join(PRECISIONS))
    models, inputs = plan.get("models"), plan.get("inputs")
    _require(isinstance(models, dict) and len(models) > 0, "models must name at least one model")
    for name, model in models.items():
        _require(safe_name(name) == name, "the model name %r cannot be a file name" % name)
        _require(
            isinstance(model, dict) and isinstance(model.get("file"), str), "model %s names no file" % name
        )
        _require(
            model.get("precision", plan["precision"]) in PRECISIONS,
            "model %s: precision must be one of %s" % (name, ", ".join(PRECISIONS)),
        )
    _require(isinstance(inputs, list) and len(inputs) > 0, "inputs must name at least one input")
    for entry in inputs:
        _require(isinstance(entry, dict) and isinstance(entry.get("name"), str), "an input has no name")
        _require(_is_shape(entry.get("shape")), "input %s: shape must be positive numbers" % entry["name"])
        profile = entry.get("profile")
        if profile is not None:
            bounds = (
                [profile.get(key) for key in ("min", "opt", "max")] if isinstance(profile, dict) else [None]
            )
            _require(
                all(_is_shape(bound) for bound in bounds),
                "input %s: profile needs min, opt, max" % entry["name"],
            )
    return dict(plan)


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise BundleError(
            "plan.json: " + what, "make the bundle again with the jetpress that made this runner"
        )
