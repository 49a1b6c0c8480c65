"""The failures the runner foresees. Each carries what happened, what to do about it, and an exit code.

RunnerError
|-- BundleError       2   the request or the bundle makes no sense
|-- ToolMissing       3   a library is not here
|   `-- NoGpu         3   there is no GPU here: `skipped`, where others are errors
|-- DeviceError       5   the device refused or failed
|-- DigestMismatch    6   a file is not the one that was promised; nothing parsed it
|-- TrustError        6   nobody whom this board trusts vouches for it
`-- BenchmarkInvalid  7   the numbers were measured but must not be believed
"""


class RunnerError(Exception):
    """A foreseen failure: one sentence on what happened, one on what to do."""

    code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class BundleError(RunnerError):
    """The request or the bundle makes no sense."""

    code = 2


class ToolMissing(RunnerError):  # noqa: N818 - named as the host names it
    """A library is not here."""

    code = 3


class NoGpu(ToolMissing):
    """There is nothing here to run an engine on; an engine built ahead of time waits for its target."""


class DeviceError(RunnerError):
    """The device refused or failed."""

    code = 5


class DigestMismatch(RunnerError):  # noqa: N818
    """A file is not the one that was promised; nothing parsed it."""

    code = 6


class TrustError(RunnerError):
    """Nobody whom this board trusts vouches for it."""

    code = 6


class BenchmarkInvalid(RunnerError):  # noqa: N818
    """The numbers were measured but must not be believed."""

    code = 7
