"""GPU and DLA at the same time: what the board does altogether when each has its own copy of the network."""

import threading
from statistics import median
from typing import Any, Dict, List

from . import clock
from .failures import DeviceError

WARM_UP_MS = 200.0


def run(sessions: Dict[str, Any], seconds: float) -> Dict[str, Any]:
    """All sessions in threads of their own, begun together; runs a second of each and altogether.

    TensorRT and CUDA let go of Python's lock while they work, so the threads do not wait for one another.
    """
    found: Dict[str, Dict[str, float]] = {}
    failures: List[BaseException] = []
    together = threading.Barrier(len(sessions))

    def work(name: str, session: Any) -> None:
        try:
            session.gpu.attach()
            try:
                session.block(WARM_UP_MS, 1)
                together.wait()
                start = clock.seconds()
                latencies = session.block(1000 * seconds, 1)["latency"]
                stop = clock.seconds()
            finally:
                session.gpu.detach()
            found[name] = {
                "throughput_per_s": session.inputs[0].shape[0] * len(latencies) / (stop - start),
                "median_ms": median(latencies),
            }
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
    return {
        "engines": found,
        "throughput_per_s": sum(each["throughput_per_s"] for each in found.values()),
        "seconds": seconds,
    }
