"""All that decides about one engine: two builds with the same settings on the same device give the same."""

from typing import Dict, List, NamedTuple, Optional

from ..system.failures import BundleError
from ..system.files import canonical


class Input(NamedTuple):
    """One input, the same of every model."""

    name: str
    shape: List[int]
    profile: Optional[Dict[str, List[int]]] = None  # min, opt and max, where a dimension is open


class Settings(NamedTuple):
    """What a backend is to build."""

    model: str
    precision: str
    inputs: List[Input]
    onnx_sha256: str = ""
    sparse: bool = False
    workspace_mb: Optional[int] = None
    threads: Optional[int] = None
    strongly_typed: bool = False
    optimization_level: Optional[int] = None
    dla_core: Optional[int] = None
    ranges: Optional[Dict[str, float]] = (
        None  # of tensors, symmetric: implicit quantization, of a graph without Q/DQ
    )
    compute_capabilities: Optional[List[str]] = None

    def digest(self) -> str:
        """Stands for all of them."""
        return canonical(dict(self._asdict()))


def capabilities(plan: Dict[str, object]) -> Optional[List[str]]:
    """What TensorRT-RTX is to build for, ahead of time."""
    listed = plan.get("compute_capabilities") or []
    if not isinstance(listed, list):
        raise BundleError(
            "plan.json: compute_capabilities must be a list",
            "make the bundle again with the jetpress that made this runner",
        )
    return [str(item) for item in listed] or None
