"""The process of one cell: ``python -m jetpress.pipeline.sweep.cell RECIPE TARGET DEVICE PROCESSES SOCKET``.

It says over the socket when it measures this machine, each epoch of a training, and how it ended. It dies with the
process that began it.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from jetpress.deploy.errors import INTERRUPTED, JetpressError, from_os_error

SET_PARENT_DEATH_SIGNAL = 1
"""Of Linux's prctl."""
UNFORESEEN = 1


class Line:
    """To whoever began this process."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=number)
        self._socket.set_inheritable(False)
        self._answers = queue.SimpleQueue[bytes]()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Wait for answers. The end of the socket is that of whoever holds the other one: no process outlives it."""
        while answer := self._socket.recv(1):
            self._answers.put(answer)
        os.killpg(0, signal.SIGKILL)

    def say(self, **told: JsonValue) -> None:
        """One line of JSON."""
        self._socket.sendall(json.dumps(told).encode() + b"\n")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing else of the sweep runs on this machine within."""
        self.say(event="measuring")
        self._answers.get()
        try:
            yield
        finally:
            self.say(event="measured")


def die_with_parent() -> None:
    """The kernel kills this process when the one that began it ends: also where it was stopped, and cannot listen."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def run(recipe: str, target: str, device: str, processes: int, line: Line) -> Mapping[str, JsonValue]:
    """Run it, and say how it ended in plain values. ``processes`` train together: one for each GPU."""
    from jetpress.benchmarks.report.headline import shown
    from jetpress.pipeline.recipe.reading import Recipe
    from jetpress.pipeline.run import run as run_recipe
    from jetpress.pipeline.store.measuring import asking
    from jetpress.pipeline.store.shared import shared
    from jetpress.pipeline.training.metrics import listening
    from jetpress.pipeline.training.torchrun import together

    def epoch(training: str, entry: Mapping[str, float]) -> None:
        line.say(event="epoch", training=training, **entry)

    with together(processes), asking(line.alone), listening(epoch):
        report = run_recipe(Recipe.load(recipe), target, device or None)
    folder = (report.folder or Path()).absolute()
    if there := shared():
        there.put("runs", folder, folder.glob("re[pc]*"), again=True)  # the report and its recipe
    return {"exit_code": shown(report).exit_code, "folder": str(folder)}


def lived(
    number: int,
    act: Callable[[Line], Mapping[str, JsonValue]],
    leave: Callable[[Mapping[str, JsonValue]], None] = lambda _: None,
) -> int:
    """The life of such a process: how it ends, it says in every case that can be foreseen.

    Args:
        number: of the socket.
        act: does the work, and says how it ended.
        leave: is told that, too, before anybody else.
    """
    line = Line(number)
    die_with_parent()
    try:
        told = act(line)
    except JetpressError as error:
        told = _failed(error)
    except OSError as error:
        told = _failed(from_os_error(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - of whatever the user's own code raises
        traceback.print_exc()
        what = f"{type(error).__name__}: {error}"
        told = {"error": what, "hint": "its log has all of it", "exit_code": UNFORESEEN}
    leave(told)
    line.say(event="ended", **told)
    return int(str(told["exit_code"]))


def _failed(error: JetpressError) -> Mapping[str, JsonValue]:
    print(f"jetpress: error: {error}", file=sys.stderr)
    return {"error": error.what, "hint": error.hint, "exit_code": error.exit_code}


def main() -> int:
    """Run what the arguments name."""
    recipe, target, device, processes, number = sys.argv[1:]
    return lived(int(number), lambda line: run(recipe, target, device, int(processes), line))


if __name__ == "__main__":
    sys.exit(main())
