"""What every backend offers, and every session on one of its engines.

For the type checker and for whoever writes a backend: Python 3.6, where the runner must run, has no Protocol.
"""

from typing import TYPE_CHECKING, Dict, List, Optional

if TYPE_CHECKING:
    from typing import Protocol, TypedDict

    from .settings import Input, Settings
    from .tensors import Feeds, Tensor
    from .timings import Timings

    class Profile(Protocol):
        """Runs that note what each layer takes."""

        def run(self, count: int) -> None:
            """So many runs."""

        def layers(self) -> Dict[str, List[float]]:
            """Milliseconds of each run by the layer's name; ends the profile."""

    class Session(Protocol):
        """One engine, its inputs and outputs bound to memory that stays where it is."""

        inputs: List[Tensor]
        output_names: List[str]

        def infer(self, feeds: Feeds) -> Feeds:
            """One untimed run."""

        def bind(self, feeds: Feeds) -> None:
            """Put the inputs where the timed runs take them from."""

        def block(self, milliseconds: float, least: int) -> Dict[str, List[float]]:
            """Timed runs for so long and at least so many: `latency` and its parts, in ms."""

        def outputs(self) -> Feeds:
            """What the last timed run gave."""

        def profile(self) -> Profile:
            """Runs of the same network that note what each layer takes."""

        def attach(self) -> None:
            """Before another thread works with the session."""

        def detach(self) -> None:
            """When that thread has done its work."""

    class Backend(Protocol):
        """One runtime: it builds engines and opens them."""

        name: str
        version: str
        suffix: str  # of an engine's file
        keeps_timings: bool
        shows_progress: bool
        ahead: List[
            str
        ]  # compute capabilities that it builds for without a device; empty: for the one that is here
        device: Dict[str, object]  # name and compute_capability
        knobs: Dict[str, object]  # how it runs what is measured

        def build(
            self, model: str, settings: Settings, draft: str, timings: Optional[Timings]
        ) -> Dict[str, object]:
            """Build one engine and leave it at `draft`; what came out, and what the builder said."""

        def inspect(
            self, engine: str, inputs: List[Input], dla_core: Optional[int] = None
        ) -> Optional[Dict[str, object]]:
            """The engine's account of its layers; None where it has none."""

        def load(
            self, engine: str, inputs: List[Input], dla_core: Optional[int] = None, mapped: bool = False
        ) -> Session:
            """A session on an engine whose digest and stamp have been checked; `mapped`: without copies."""

    class Request(TypedDict):
        """What preflight asks a library to do with a model."""

        inputs: Dict[str, List[int]]  # shapes
        build: bool  # where it builds engines; else it only reads the model
        ahead: List[str]
