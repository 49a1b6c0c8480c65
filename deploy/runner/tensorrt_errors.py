"""What TensorRT reports as errors, kept with their codes; the rule of names stands in backend_tensorrt.py.

Who has a recorder gets its errors there and no longer in the log.
"""

from typing import Any, List, Tuple

from .events import tell

KEPT = 100  # a builder that fails for each tactic reports thousands


def make_recorder(trt: Any) -> Any:
    """For `Builder.error_recorder` and `IExecutionContext.error_recorder`."""

    class Recorder(trt.IErrorRecorder):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self.found: List[Tuple[Any, str]] = []
            self.dropped = False

        def report_error(self, code: Any, description: str) -> bool:
            """Called by TensorRT; the answer says that the work may not go on."""
            self.dropped = self.dropped or len(self.found) >= KEPT
            if not self.dropped:
                self.found.append((code, description))
                tell("  [%s] %s" % (getattr(code, "name", code), description[:500]))
            return True

        def num_errors(self) -> int:
            return len(self.found)

        def get_error_code(self, place: int) -> Any:
            return self.found[place][0]

        def get_error_desc(self, place: int) -> str:
            return self.found[place][1]

        def has_overflowed(self) -> bool:
            return self.dropped

        def clear(self) -> None:
            self.found, self.dropped = [], False

    return Recorder()


def said(recorder: Any) -> str:
    """The last errors in words; empty where there were none."""
    words = ["%s: %s" % (getattr(code, "name", code), text.strip()) for code, text in recorder.found[-3:]]
    return "; ".join(words)
