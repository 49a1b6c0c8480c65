"""Stages side by side: a thread makes the next items while the last one is used."""

import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, Iterator, List, Optional, TypeVar

if TYPE_CHECKING:
    from ..interface.protocols import Session

DEPTH = 1  # items that wait between two stages: more would only grow old there
PATIENCE_S = 0.1

T = TypeVar("T")


class Ahead(Generic[T]):
    """The thread and what it has made; what it fails with is raised where its items are used."""

    def __init__(self, items: Iterator[T], session: Optional["Session"]) -> None:
        self.items, self.session = items, session
        self.made: "queue.Queue[List[Any]]" = queue.Queue(DEPTH)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        if self.session is not None:
            self.session.attach()
        try:
            for item in self.items:
                self._put("item", item)
                if self.over.is_set():
                    return
            self._put("end", None)
        except BaseException as error:  # noqa: BLE001 - raised where the items are used
            self._put("error", error)
        finally:
            if self.session is not None:
                self.session.detach()

    def _put(self, kind: str, item: object) -> None:
        while not self.over.is_set():
            try:
                return self.made.put([kind, item], timeout=PATIENCE_S)
            except queue.Full:
                pass
        return None

    def __iter__(self) -> Iterator[T]:
        self.thread.start()
        try:
            kind, item = self.made.get()
            while kind == "item":
                yield item
                kind, item = self.made.get()
            if kind == "error":
                raise item
        finally:
            self.over.set()
            self.thread.join()


def ahead(items: Iterator[T], session: Optional["Session"] = None) -> Iterator[T]:
    """The same items; `session` is what the thread works with."""
    return iter(Ahead(items, session))
