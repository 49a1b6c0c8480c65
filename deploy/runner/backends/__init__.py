"""How a backend is opened: the file NAME.py here is the backend NAME, and nothing else imports its library.

Its `open_backend(plan)` gives a `Backend` of interface/protocols.py. Where preflight asks the library itself, the
file has `attempt(model, request)` besides: a `Request` -> `version`, `stage` (how far it came: parse, load or build),
`ok`, `lacks` (it failed for what it does not have) and `error`. What the host must know of it is its record in
deploy/backends.py.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Dict, List

from ..system.failures import ToolMissing
from ..system.remedies import pip_install
from . import __path__ as FOLDER  # noqa: N812

if TYPE_CHECKING:
    from ..interface.protocols import Backend

READS = (  # what is found by its name, and all that it may use
    "*.py",
    "../board/*.py",
    "../cuda/*.py",
    "../interface/*.py",
    "../system/*.py",
    "../tensorrt/*.py",
)


def names() -> List[str]:
    """All backends that this runner has."""
    return sorted(module[1] for module in pkgutil.iter_modules(FOLDER))


def module_of(name: str) -> ModuleType:
    """The file of a backend."""
    return importlib.import_module("." + name, __package__)


def open_backend(plan: Dict[str, object]) -> "Backend":
    """The backend that the plan names, ready to build and to load."""
    try:
        backend: "Backend" = module_of(str(plan["backend"])).open_backend(plan)
    except ImportError as error:
        if getattr(error, "name", None) != "numpy":
            raise
        raise ToolMissing(
            "numpy is not installed", "sudo apt install python3-numpy, or " + pip_install("numpy")
        )
    return backend
