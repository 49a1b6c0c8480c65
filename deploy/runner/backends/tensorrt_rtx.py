"""TensorRT-RTX: TensorRT's engines, built ahead of time for GPUs that need not be here."""

import os
from typing import TYPE_CHECKING, Dict

from ..interface.settings import Input, Settings, capabilities
from ..system.failures import RunnerError
from ..tensorrt.build import build_engine
from ..tensorrt.errors import last_errors
from .tensorrt import Backend, load_library, make_log

if TYPE_CHECKING:
    from ..interface.protocols import Request

NAME = "tensorrt_rtx"
# How it says that it lacks something, as opposed to that the graph is wrong.
LACKING = ("plugin", "creator", "no runners that implement it")


def open_backend(plan: Dict[str, object]) -> Backend:
    """Ready to build for the compute capabilities that the plan names."""
    return Backend(plan, NAME, capabilities(plan) or [])


def attempt(model: str, request: "Request") -> Dict[str, object]:
    """Asked by preflight: parse `model`, and where `request["build"]` allows it build it."""
    trt = load_library(NAME)
    log = make_log(trt)
    stage = "build" if request["build"] else "parse"
    try:
        if request["build"]:
            inputs = [Input(name, shape) for name, shape in request["inputs"].items()]
            settings = Settings(os.path.basename(model), "fp32", inputs)
            plan, _ = build_engine(trt, log, model, settings, request["ahead"])
            ok, error = plan is not None, "" if plan is not None else last_errors(log.recorder)
        else:
            builder = trt.Builder(log)  # must live as long as its network
            network = builder.create_network(0)
            parser = trt.OnnxParser(network, log)
            ok = parser.parse_from_file(model)
            error = "; ".join(parser.get_error(at).desc() for at in range(parser.num_errors))
    except RunnerError as failure:
        stage = "parse" if "cannot parse" in failure.what else "build"
        ok, error = False, failure.what
    error = error[:500]
    lacks = any(word in error for word in LACKING)
    return {"version": str(trt.__version__), "stage": stage, "ok": ok, "lacks": lacks, "error": error}
