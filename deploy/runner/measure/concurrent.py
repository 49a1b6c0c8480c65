"""GPU and DLA at the same time: what the board does altogether when each has its own copy of the network."""

import threading
from statistics import median
from typing import TYPE_CHECKING, Dict, List, NamedTuple

from ..engines.infer import batch_of
from ..system import clock
from ..system.failures import DeviceError

if TYPE_CHECKING:
    from ..interface.protocols import Session

WARM_UP_MS = 200.0


class Share(NamedTuple):
    """What one of them did meanwhile."""

    throughput_per_s: float
    median_ms: float


class Together(NamedTuple):
    """What they did at the same time."""

    engines: Dict[str, Share]
    throughput_per_s: float
    seconds: float


def run(sessions: Dict[str, "Session"], seconds: float) -> Together:
    """All sessions in threads of their own, begun together; runs a second of each and altogether.

    TensorRT and CUDA let go of Python's lock while they work, so the threads do not wait for one another.
    """
    shares: Dict[str, Share] = {}
    failures: List[BaseException] = []
    together = threading.Barrier(len(sessions))

    def work(name: str, session: "Session") -> None:
        try:
            session.attach()
            try:
                session.block(WARM_UP_MS, 1)
                together.wait()
                start = clock.seconds()
                latencies = session.block(1000 * seconds, 1)["latency"]
                stop = clock.seconds()
            finally:
                session.detach()
            rate = batch_of(session) * len(latencies) / (stop - start)
            shares[name] = Share(rate, median(latencies))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody sees it
            failures.append(error)
            together.abort()

    threads = [threading.Thread(target=work, args=item) for item in sorted(sessions.items())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        if not isinstance(failure, threading.BrokenBarrierError):
            raise DeviceError("running them together failed: %s" % failure, "leave --concurrent out")
    return Together(shares, sum(share.throughput_per_s for share in shares.values()), seconds)
