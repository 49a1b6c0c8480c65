"""bench --video: what an application gets: frames decoded, prepared, copied, computed, copied back and understood.

Two ways, one after the other: each frame through all stages before the next one, and the stages side by side, each in a
thread of its own. Frames are those of the video; of a live source those that were there when there was time for them.
"""

import os
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from ..backends import open_backend
from ..board.identity import Board
from ..board.watch import Watch
from ..decode.meaning import meaning
from ..engines.infer import batch_of
from ..engines.manifest import Bundle
from ..engines.stamp import open_engines
from ..interface.tensors import Array, Feeds
from ..measure import latencies
from ..system import clock
from ..system.events import emit, tell
from ..system.failures import BundleError, DeviceError
from ..system.files import make_folder, write_json
from .ahead import ahead
from .commands import Source, by_hardware, choose, source_of
from .frames import Frame, Streams
from .picture import Picture, picture_of, prepared

if TYPE_CHECKING:
    from ..interface.protocols import Session

STAGES = ("decode", "prepare", "h2d", "compute", "d2h", "understand")
WARM_UP = 3
ALONE_S = 5.0  # of decoding by itself
LIVE_S = 30.0  # a camera has no end


class Asked(NamedTuple):
    """How it is to be measured."""

    videos: List[str]
    streams: int = 0  # so many of them, again from the first; 0: each once
    decoder: str = "auto"
    real_time: bool = False
    seconds: float = 0.0  # at most; 0: to the end, of what has one
    ways: Sequence[bool] = (False, True)  # with stages side by side


class Turn:
    """A batch of frames on its way."""

    def __init__(self, frames: List[Frame], began: float) -> None:
        self.frames = frames
        self.took = {"decode": 1000 * (clock.seconds() - began)}
        self.feeds: Feeds = {}
        self.results: Feeds = {}
        self.meanings: List[Dict[str, Any]] = []
        self.ended = 0.0


class Way:
    """From frames to what they mean, with one engine."""

    def __init__(self, session: "Session", picture: Picture, plan: Dict[str, Any]) -> None:
        self.session, self.picture, self.plan = session, picture, plan
        self.batch = batch_of(session)

    def turns(self, streams: Streams, end: Optional[float]) -> Iterator[Turn]:
        """Batches of frames, until all streams end or the time is up."""
        while end is None or clock.seconds() < end:
            began = clock.seconds()
            taken = streams.gather(self.batch)
            if not taken:
                return
            yield Turn([frame for _, frame in taken], began)

    def prepare(self, turn: Turn) -> Turn:
        """Pixels into the input."""
        began = clock.seconds()
        pixels = [frame.pixels for frame in turn.frames]
        turn.feeds = {self.picture.input: prepared(pixels, self.picture, self.batch)}
        turn.took["prepare"] = 1000 * (clock.seconds() - began)
        return turn

    def compute(self, turn: Turn) -> Turn:
        """Through the engine."""
        turn.results, parts = self.session.once(turn.feeds)
        turn.took.update(parts)
        return turn

    def understand(self, turn: Turn) -> Turn:
        """What the outputs mean; the frames have their results then."""
        began = clock.seconds()
        turn.meanings = meaning(turn.results, self.plan)[: len(turn.frames)]
        turn.ended = clock.seconds()
        turn.took["understand"] = 1000 * (turn.ended - began)
        return turn

    def through(self, streams: Streams, side_by_side: bool, end: Optional[float]) -> Iterator[Turn]:
        """Every turn to its end; side by side each stage works on another one."""
        turns: Iterator[Turn] = self.turns(streams, end)
        for stage in (self.prepare, self.compute, self.understand):
            session = self.session if stage == self.compute else None
            turns = map(stage, turns)
            if side_by_side and stage != self.understand:
                turns = ahead(turns, session)
        return turns


def run(bundle: Bundle, engines: str, out: str, asked: Asked) -> None:
    """One `video` event for each engine and way. Nothing is written where anything failed."""
    picture = picture_of(bundle)
    sources = [source_of(text, asked.real_time) for text in asked.videos]
    count = asked.streams or len(sources)
    sources = [sources[place % len(sources)] for place in range(count)]
    cameras = [one.name for one in sources if one.kind == "camera"]
    if len(cameras) > len(set(cameras)):
        raise BundleError("a camera gives its frames to one reader", "name several cameras, or --streams 1")
    decoder = choose(asked.decoder, sources[0])
    sessions = open_engines(bundle, engines, open_backend(bundle.plan))
    for name, session in sessions.items():
        agrees(session, bundle.plan, name)
    seconds = asked.seconds or (LIVE_S if any(one.kind != "file" for one in sources) else 0.0)
    alone = None if any(one.live for one in sources) else by_itself(decoder, sources, picture)
    events = []
    for name, session in sessions.items():
        way = Way(session, picture, bundle.plan)
        for side_by_side in asked.ways:
            told = measured(way, decoder, sources, side_by_side, seconds)
            told.update(model=name, decode_alone_per_s=alone)
            events.append(emit("video", **told))
            tell("%s: %s" % (name, in_words(events[-1])))
    if out:
        write_json(os.path.join(make_folder(out), "video.json"), events)


def agrees(session: "Session", plan: Dict[str, Any], name: str) -> None:
    """Refuse an engine of another head than the plan tells of: its outputs would be read as what they are not."""
    told = [str(one["name"]) for one in plan.get("outputs") or []]
    if told and sorted(told) != sorted(session.output_names):
        raise DeviceError(
            "the engine of %s gives %s, and the plan tells of %s"
            % (name, ", ".join(session.output_names), ", ".join(told)),
            "run `build` again with this bundle",
        )


def by_itself(decoder: str, sources: List[Source], picture: Picture) -> float:
    """Frames a second where nothing else is done with them."""
    streams = Streams(decoder, sources, picture)
    try:
        streams.begin()
        began, count = clock.seconds(), 0
        while clock.seconds() < began + ALONE_S:
            taken = len(streams.gather(1))
            count += taken
            if not taken:
                break
        return count / (clock.seconds() - began)
    finally:
        streams.close()


def measured(
    way: Way, decoder: str, sources: List[Source], side_by_side: bool, seconds: float
) -> Dict[str, object]:
    """What the event says of one pass over the sources."""
    blank = Frame(_blank(way.picture), 0.0)
    for _ in range(WARM_UP):
        way.understand(way.compute(way.prepare(Turn([blank], clock.seconds()))))
    watch, taken = Watch(Board()), []
    streams = Streams(decoder, sources, way.picture)
    try:
        streams.begin()
        with watch:
            began = clock.seconds()
            through = way.through(streams, side_by_side, began + seconds if seconds else None)
            for turn in through:
                turn.feeds, turn.results = {}, {}
                taken.append(turn)
            if not taken:
                raise DeviceError("no frame came in %g s" % seconds, "give it more time: --seconds")
            ended = taken[-1].ended
    finally:
        streams.close()
    waits = [1000 * (turn.ended - frame.arrived) for turn in taken for frame in turn.frames]
    stages = {name: [turn.took[name] for turn in taken if name in turn.took] for name in STAGES}
    power = watch.power([(began, ended)], len(waits))
    return {
        "sources": sorted({one.name for one in sources}),
        "decoder": decoder,
        "by_hardware": decoder == "gstreamer" and by_hardware(),
        "live": any(one.live for one in sources),
        "streams": len(sources),
        "batch": way.batch,
        "prepared_by": "graph" if way.picture.in_graph else "host",
        "side_by_side": side_by_side,
        "frames": len(waits),
        "dropped": streams.dropped(),
        "seconds": ended - began,
        "frames_per_s": len(waits) / (ended - began),
        "latency": latencies.summary(waits),
        "stages": {name: latencies.summary(times) for name, times in stages.items() if times},
        "power": power,
        "alarms": watch.alarms([(began, ended)]) if watch.useful else [],
    }


def _blank(picture: Picture) -> Array:
    return np.full((picture.height, picture.width, picture.channels), picture.border, np.uint8)


def in_words(told: Dict[str, Any]) -> str:
    """One event for people."""
    stages = ", ".join(
        "%s %.3g" % (name, told["stages"][name]["median"]) for name in STAGES if name in told["stages"]
    )
    way = "side by side" if told["side_by_side"] else "one after the other"
    latency = told["latency"]
    words = "%.4g frames/s of the application (%d streams, batch %d, stages %s)" % (
        told["frames_per_s"], told["streams"], told["batch"], way,
    )  # fmt: skip
    words += ", frame to result %.4g ms" % latency["median"]
    words += "".join(", %s %.4g" % (key, latency[key]) for key in ("p90", "p99") if key in latency)
    words += "; ms of a turn: " + stages
    if told["live"]:
        words += "; %d of %d frames dropped" % (told["dropped"], told["dropped"] + told["frames"])
    if told["power"]:
        words += "; %.2f W, %.3g mJ a frame" % (
            told["power"]["watts"],
            told["power"]["millijoules_per_inference"],
        )
    return words
