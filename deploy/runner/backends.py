"""BACKENDS: how each backend of a plan is opened. Its library is imported here, late, and nowhere else."""

from typing import Any, Dict

from .failures import ToolMissing


def open_backend(plan: Dict[str, Any]) -> Any:
    """The backend that the plan names, ready to build and to load."""
    try:
        if plan["backend"] == "onnxruntime":
            from . import backend_onnxruntime

            return backend_onnxruntime.Backend(plan)
        from . import backend_tensorrt

        return backend_tensorrt.Backend(plan, plan["backend"])
    except ImportError as error:
        if getattr(error, "name", None) != "numpy":
            raise
        raise ToolMissing(
            "numpy is not installed", "sudo apt install python3-numpy, or python3 -m pip install numpy"
        )
