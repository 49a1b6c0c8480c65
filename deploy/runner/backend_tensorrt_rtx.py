"""TensorRT-RTX: TensorRT's engines, built ahead of time for GPUs that need not be here."""

import os
from typing import Any, Dict

from .backend_tensorrt import Backend, load_library, make_log
from .failures import RunnerError
from .tensorrt_build import build_engine
from .tensorrt_errors import said

NAME = "tensorrt_rtx"
# How it says that it lacks something, as opposed to that the graph is wrong.
LACKING = ("plugin", "creator", "no runners that implement it")


def open_backend(plan: Dict[str, Any]) -> Backend:
    """Ready to build for the compute capabilities that the plan names."""
    return Backend(plan, NAME, [str(one) for one in plan.get("compute_capabilities") or []])


def attempt(model: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Asked by preflight: parse `model`, and where `request["build"]` allows it build it."""
    found = _attempt(model, request)
    return dict(found, lacks=any(word in found["error"] for word in LACKING))


def _attempt(model: str, request: Dict[str, Any]) -> Dict[str, Any]:
    trt = load_library(NAME)
    log = make_log(trt)
    found = {"version": str(trt.__version__), "stage": "build" if request["build"] else "parse"}
    try:
        if request["build"]:
            settings = {"precision": "fp32", "inputs": request["inputs"], "ahead": request["ahead"]}
            settings.update(timing_cache=None, model=os.path.basename(model))
            plan, _ = build_engine(trt, log, model, settings)
            return dict(
                found, ok=plan is not None, error="" if plan is not None else said(log.recorder)[:500]
            )
        builder = trt.Builder(log)  # must live as long as its network
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, log)
        ok = parser.parse_from_file(model)
        faults = "; ".join(parser.get_error(at).desc() for at in range(parser.num_errors))
        return dict(found, ok=ok, error=faults[:500])
    except RunnerError as failure:
        stage = "parse" if "cannot parse" in failure.what else "build"
        return dict(found, stage=stage, ok=False, error=failure.what[:500])
