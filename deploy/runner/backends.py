"""How a backend is opened: the file backend_NAME.py is the backend NAME, and nothing else imports its library.

Its `open_backend(plan)` gives an object with `name`, `version`, `device` (name and compute capability), `knobs`
(how it runs what is measured), `suffix` (of an engine's file), `ahead` (the compute capabilities that it builds for
without a device; empty: for this one), `keeps_timings` and `shows_progress`; and with `build`, `inspect` and
`load`, as in backend_onnxruntime.py. Where preflight asks the library itself, the file has `attempt(model, request)`
besides. What the host must know of it is its record in deploy/backends.py.
"""

import importlib
import pkgutil
from typing import Any, Dict, List

from . import __path__ as FOLDER  # noqa: N812
from .failures import ToolMissing

PREFIX = "backend_"


def names() -> List[str]:
    """All backends that this runner has."""
    modules = (module[1] for module in pkgutil.iter_modules(FOLDER))
    return sorted(name[len(PREFIX) :] for name in modules if name.startswith(PREFIX))


def module_of(name: str) -> Any:
    """The file of a backend."""
    return importlib.import_module(".%s%s" % (PREFIX, name), __package__)


def open_backend(plan: Dict[str, Any]) -> Any:
    """The backend that the plan names, ready to build and to load."""
    try:
        return module_of(plan["backend"]).open_backend(plan)
    except ImportError as error:
        if getattr(error, "name", None) != "numpy":
            raise
        raise ToolMissing(
            "numpy is not installed", "sudo apt install python3-numpy, or python3 -m pip install numpy"
        )
