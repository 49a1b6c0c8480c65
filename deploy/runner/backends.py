"""How a backend is opened: the file backend_NAME.py is the backend NAME, and nothing else imports its library.

Its `open_backend(plan)` gives a `Backend` of interface.py. Where preflight asks the library itself, the file has
`attempt(model, request)` besides: a `Request` of interface.py -> `version`, `stage` (how far it came: parse, load or
build), `ok`, `lacks` (it failed for what it does not have) and `error`. What the host must know of it is its record in
deploy/backends.py.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Dict, List

from . import __path__ as FOLDER  # noqa: N812
from .failures import ToolMissing
from .remedies import pip_install

if TYPE_CHECKING:
    from .interface import Backend

PREFIX = "backend_"
READS = ("*.py",)  # what is found by its name, and all that it may use


def names() -> List[str]:
    """All backends that this runner has."""
    modules = (module[1] for module in pkgutil.iter_modules(FOLDER))
    return sorted(name[len(PREFIX) :] for name in modules if name.startswith(PREFIX))


def module_of(name: str) -> ModuleType:
    """The file of a backend."""
    return importlib.import_module(".%s%s" % (PREFIX, name), __package__)


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
