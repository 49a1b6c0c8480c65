"""All that decides about one engine: two builds with the same settings on the same device give the same."""

from typing import List, NamedTuple, Optional

from .files import canonical
from .manifest import Bundle, Input


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
    compute_capabilities: Optional[List[str]] = None

    def digest(self) -> str:
        """Stands for all of them."""
        return canonical(dict(self._asdict()))


def settings_of(bundle: Bundle, name: str) -> Settings:
    """Those of one model of a bundle."""
    model = bundle.models[name]
    return Settings(
        model=name,
        precision=model.precision,
        inputs=bundle.inputs,
        onnx_sha256=bundle.sha256(model.file),
        sparse=model.sparse,
        workspace_mb=bundle.numbers["workspace_mb"],
        threads=bundle.numbers["threads"],
        strongly_typed=model.strongly_typed,
        optimization_level=bundle.numbers["optimization_level"],
        dla_core=model.dla_core,
        compute_capabilities=bundle.capabilities,
    )
