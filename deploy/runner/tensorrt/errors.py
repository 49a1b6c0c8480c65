"""What TensorRT reports as errors, kept with their codes; the rule of names stands in backends/tensorrt.py.

Who has a recorder gets its errors there and no longer in the log.
"""

from types import ModuleType
from typing import TYPE_CHECKING, List, Tuple

from ..system.events import tell

if TYPE_CHECKING:
    from tensorrt import ErrorCode, IErrorRecorder

KEPT = 100  # a builder that fails for each tactic reports thousands


def make_recorder(trt: ModuleType) -> "IErrorRecorder":
    """For `Builder.error_recorder` and `IExecutionContext.error_recorder`."""

    class Recorder(trt.IErrorRecorder):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self.errors: List[Tuple["ErrorCode", str]] = []
            self.dropped = False

        def report_error(self, code: "ErrorCode", description: str) -> bool:
            """Called by TensorRT; the answer says that the work may not go on."""
            self.dropped = self.dropped or len(self.errors) >= KEPT
            if not self.dropped:
                self.errors.append((code, description))
                tell("  [%s] %s" % (getattr(code, "name", code), description[:500]))
            return True

        def get_num_errors(self) -> int:
            """Under the name that TensorRT's own code calls (pyCore.cpp); whoever reads asks for `num_errors`."""
            return len(self.errors)

        num_errors = property(get_num_errors)

        def get_error_code(self, place: int) -> "ErrorCode":
            return self.errors[place][0]

        def get_error_desc(self, place: int) -> str:
            return self.errors[place][1]

        def has_overflowed(self) -> bool:
            return self.dropped

        def clear(self) -> None:
            self.errors, self.dropped = [], False

    return Recorder()


def last_errors(recorder: "IErrorRecorder") -> str:
    """The last errors in words; empty where there were none."""
    words = ["%s: %s" % (getattr(code, "name", code), text.strip()) for code, text in recorder.errors[-3:]]
    return "; ".join(words)
