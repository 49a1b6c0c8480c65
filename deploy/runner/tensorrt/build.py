"""Building one engine with any TensorRT; the rule of names stands in backends/tensorrt.py."""

import os
import time
from types import ModuleType
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..interface.settings import Input, Settings
from ..interface.timings import Timings
from ..system.events import emit, tell
from ..system.failures import BundleError, DeviceError
from ..system.files import digest, write
from . import plugins
from .dla import Capable, adjust_parser, capable_of, set_ranges, use_dla, why_none

if TYPE_CHECKING:  # its names, whichever version is here; `trt` is the module itself, imported late
    from tensorrt import (
        Builder,
        IBuilderConfig,
        IHostMemory,
        ILogger,
        INetworkDefinition,
        IProgressMonitor,
    )

Shapes = Dict[str, List[Tuple[int, ...]]]  # of each input that has an open dimension: min, opt and max


class Built(NamedTuple):
    """What was asked of the builder, as the stamp says it."""

    flags: List[str]
    strongly_typed: bool
    types: List[str]
    profile: Shapes
    timing_cache_reused: bool
    ahead_of_time: Sequence[str]
    dla: Optional[Capable] = None


def build_engine(
    trt: ModuleType,
    log: "ILogger",
    model: str,
    settings: Settings,
    ahead: Sequence[str] = (),
    timings: Optional[Timings] = None,
) -> Tuple[Optional["IHostMemory"], Built]:
    """Parse, configure, build: the serialised engine (None where that failed) and what was asked for.

    `ahead` names compute capabilities to build for; `timings` of an earlier build are used and kept.
    """
    builder = trt.Builder(log)
    strong, typing = _typing(trt, settings)
    network = builder.create_network(typing)
    config = builder.create_builder_config()
    _parse(trt, log, network, model, config, settings)
    flags = _set_flags(trt, builder, config, settings, strong)
    ranges = set_ranges(network, settings)
    _set_limits(trt, config, settings)
    _set_ahead(trt, config, ahead)
    shapes = _set_profile(builder, config, network, settings.inputs)
    cached = _use_cache(config, timings)
    if hasattr(config, "progress_monitor"):
        config.progress_monitor = _monitor(trt, settings.model)
    builder.error_recorder = (
        log.recorder
    )  # not before: networks made after it end TensorRT-RTX 1.7 with SIGSEGV
    capable = capable_of(config, network, settings, ranges)
    if capable and not capable.capable:
        tell("no layer can run on the DLA. %s" % why_none(trt, log, builder, config, model, typing))
    plan = builder.build_serialized_network(network, config)
    if plan is not None:
        _keep_cache(config, timings)
    return plan, Built(flags, strong, _types(network), shapes, cached, ahead, capable)


def _typing(trt: ModuleType, settings: Settings) -> Tuple[bool, int]:
    """Explicit batch where it must be said; strongly typed where the plan asks for it or no flags exist."""
    typing = trt.NetworkDefinitionCreationFlag
    bits = 1 << int(typing.EXPLICIT_BATCH) if hasattr(typing, "EXPLICIT_BATCH") else 0
    asked = settings.strongly_typed or not hasattr(trt.BuilderFlag, "FP16")
    if asked and hasattr(typing, "STRONGLY_TYPED"):
        return True, bits | 1 << int(typing.STRONGLY_TYPED)
    return False, bits


def _parse(
    trt: ModuleType,
    log: "ILogger",
    network: "INetworkDefinition",
    model: str,
    config: "IBuilderConfig",
    settings: Settings,
) -> None:
    plugins.register(trt, log, model)
    parser = trt.OnnxParser(network, log)
    adjust_parser(trt, parser, config, settings)
    if parser.parse_from_file(model):
        return
    faults = [parser.get_error(place) for place in range(parser.num_errors)]
    reason = "; ".join("node %d: %s" % (fault.node(), fault.desc()) for fault in faults[:3])
    raise DeviceError(
        "TensorRT %s cannot parse %s: %s"
        % (trt.__version__, os.path.basename(model), reason or "no reason given"),
        "run `jetpress check MODEL --target ...` on the host: it names the operator and the remedy",
    )


def _set_flags(
    trt: ModuleType, builder: "Builder", config: "IBuilderConfig", settings: Settings, strong: bool
) -> List[str]:
    """Precision flags where they exist and apply, 2:4, DLA; returns the names of the flags set."""
    flag, names = trt.BuilderFlag, []
    precision = settings.precision
    if precision == "fp8" and not strong:
        raise DeviceError(
            "TensorRT %s builds no strongly typed networks, and FP8 is one" % trt.__version__,
            'choose precision = "int8" for this target',
        )
    if precision in ("fp16", "int8") and not strong and hasattr(flag, "FP16"):
        config.set_flag(flag.FP16)
        names.append("FP16")
    if precision == "int8" and not strong and hasattr(flag, "INT8"):
        if not builder.platform_has_fast_int8:
            raise DeviceError("this GPU has no fast INT8", 'choose precision = "fp16" for this target')
        config.set_flag(flag.INT8)
        names.append("INT8")
    if settings.sparse:
        config.set_flag(flag.SPARSE_WEIGHTS)
        names.append("SPARSE_WEIGHTS")
    return names + use_dla(trt, builder, config, settings, strong)


def _set_limits(trt: ModuleType, config: "IBuilderConfig", settings: Settings) -> None:
    """Workspace, optimisation level, and layer details in the engine so that it can be inspected."""
    if settings.workspace_mb:
        size = settings.workspace_mb << 20
        if hasattr(config, "set_memory_pool_limit"):
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
        else:
            config.max_workspace_size = size
    if settings.optimization_level is not None and hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = settings.optimization_level
    verbosity = trt.ProfilingVerbosity
    if hasattr(verbosity, "DETAILED"):
        config.profiling_verbosity = verbosity.DETAILED
    else:
        config.profiling_verbosity = verbosity.VERBOSE


def _set_ahead(trt: ModuleType, config: "IBuilderConfig", capabilities: Sequence[str]) -> None:
    """TensorRT-RTX builds for GPUs that are not here: one engine for each capability named in the plan."""
    if not capabilities:
        return
    if not hasattr(config, "set_compute_capability"):
        raise DeviceError(
            "this TensorRT cannot build ahead of time", "build on the target, or use tensorrt_rtx"
        )
    known = trt.ComputeCapability.__members__
    config.num_compute_capabilities = len(capabilities)
    for place, capability in enumerate(capabilities):
        name = "SM" + capability.replace(".", "")
        if name not in known:
            raise DeviceError(
                "TensorRT-RTX %s cannot build for compute capability %s" % (trt.__version__, capability),
                "it knows " + ", ".join(sorted(known)),
            )
        config.set_compute_capability(known[name], place)


def _set_profile(
    builder: "Builder", config: "IBuilderConfig", network: "INetworkDefinition", inputs: List[Input]
) -> Shapes:
    """min, opt and max shapes of every input that has an open dimension, from the plan."""
    wanted = {entry.name: entry for entry in inputs}
    profile = builder.create_optimization_profile()
    used: Shapes = {}
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        if tensor.name not in wanted:
            raise BundleError("the model has an input %r that the plan does not name" % tensor.name)
        entry = wanted.pop(tensor.name)
        shape = [int(size) for size in tensor.shape]
        if -1 in shape:
            bounds = entry.profile or {}
            low, best, high = [tuple(bounds.get(key) or entry.shape) for key in ("min", "opt", "max")]
            profile.set_shape(tensor.name, low, best, high)
            used[tensor.name] = [low, best, high]
        elif shape != entry.shape:
            raise BundleError(
                "input %s has shape %s in the model and %s in the plan" % (tensor.name, shape, entry.shape)
            )
    if wanted:
        raise BundleError("the model has no input %r" % sorted(wanted)[0])
    if used:
        config.add_optimization_profile(profile)
    return used


def _use_cache(config: "IBuilderConfig", timings: Optional[Timings]) -> bool:
    """Timings of an earlier build save minutes. Only a cache that we wrote ourselves is opened."""
    if timings is None:  # TensorRT-RTX has none: it takes timings where the engine runs
        return False
    data = b""
    ours = timings.sha256 and os.path.isfile(timings.file) and digest(timings.file)[0] == timings.sha256
    if ours:
        with open(timings.file, "rb") as source:
            data = source.read()
    cache = config.create_timing_cache(data)
    if data and (cache is None or config.set_timing_cache(cache, False) is False):
        cache, data = config.create_timing_cache(b""), b""  # another TensorRT or another GPU wrote it
    if not data and cache is not None:
        config.set_timing_cache(cache, False)
    return bool(data)


def _keep_cache(config: "IBuilderConfig", timings: Optional[Timings]) -> None:
    cache = config.get_timing_cache() if timings is not None else None
    if timings is not None and cache is not None:
        write(timings.file, cache.serialize())
        timings.sha256 = digest(timings.file)[0]


def _types(network: "INetworkDefinition") -> List[str]:
    """The types in the graph: a strongly typed engine runs in these and no other."""
    names = set()
    for place in range(network.num_layers):
        layer = network.get_layer(place)
        for output in range(layer.num_outputs):
            tensor = layer.get_output(output)
            if tensor is not None:
                names.add(str(getattr(tensor.dtype, "name", tensor.dtype)))
    return sorted(names)


def _monitor(trt: ModuleType, model: str) -> "IProgressMonitor":
    """Progress as events, at most one a second."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: Dict[str, int] = {}
            self.last = 0.0

        def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if time.time() - self.last >= 1.0:
                self.last = time.time()
                emit(
                    "progress",
                    model=model,
                    phase=phase_name,
                    step=step + 1,
                    steps=self.steps.get(phase_name, 0),
                )
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()
