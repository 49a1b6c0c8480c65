"""Frames of one source, read from the program that decodes them; of a live one only the newest is kept."""

import fcntl
import os
import select
import subprocess
import tempfile
import threading
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from ..interface.tensors import Array
from ..system import clock
from ..system.failures import DeviceError, RunnerError
from .commands import Source, command
from .picture import Picture

SILENT_S = 20.0  # a camera or a stream that gives nothing for so long is gone
SET_PIPE_SIZE, PIPE_BYTES = 1031, 1 << 20  # F_SETPIPE_SZ; what an unprivileged process may ask for
SAID_BYTES = 1 << 20  # a damaged stream is complained of for ever
REMEDIES = (
    ("busy", "another program has the camera: close it (fuser /dev/video*)"),
    ("not found for input stream", "its codec is missing: install it, or encode the video as H.264"),
    ("decoder (codec", "its codec is missing: install it, or encode the video as H.264"),
    (
        "missing a plug-in",
        "its codec is missing: sudo apt install gstreamer1.0-libav gstreamer1.0-plugins-bad",
    ),
    ("permission denied", "sudo usermod -aG video $USER, and log in again"),
    ("refused", "nobody serves there: is the address right, and the camera on?"),
    ("could not open resource", "nobody serves there: is the address right, and the camera on?"),
)

ENDS = {
    "file": "the file is not whole",
    "camera": "the camera went away",
    "stream": "the camera went away; a recording has to last longer than --seconds",
}


class Frame(NamedTuple):
    """One picture, and when it was there whole."""

    pixels: Array  # [height, width, channels] uint8
    arrived: float  # Unix seconds


class Decoder:
    """One decoding process."""

    def __init__(self, name: str, source: Source, picture: Picture) -> None:
        self.source, self.picture, self.frames = source, picture, 0
        row = picture.width * picture.channels
        self.row = (row + 3) // 4 * 4 if name == "gstreamer" else row  # GStreamer's rows end on four bytes
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            command(name, source, picture),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.said,
            bufsize=0,
        )
        assert self.process.stdout is not None
        self.pipe = self.process.stdout
        try:
            fcntl.fcntl(self.pipe, SET_PIPE_SIZE, PIPE_BYTES)
        except OSError:
            pass  # it is only slower

    def read(self) -> Optional[Frame]:
        """The next frame; None at the end.

        Raises DeviceError where there is no frame at all, and where the video breaks off.
        """
        buffer = np.empty((self.picture.height, self.row), np.uint8)
        view, filled = memoryview(buffer).cast("B"), 0  # type: ignore[arg-type]
        while filled < len(view):
            ready = select.select([self.pipe], [], [], SILENT_S)[0]
            count = self.pipe.readinto(view[filled:]) if ready else None  # type: ignore[attr-defined]
            if count is None:
                raise DeviceError(
                    "%s gave no frame for %d s" % (self.source.name, SILENT_S),
                    "is the camera on, and in reach?",
                )
            if count == 0:
                self._ended(filled)
                return None
            filled += count
        self.frames += 1
        if self.frames % 1024 == 0 and os.fstat(self.said.fileno()).st_size > SAID_BYTES:
            self.said.seek(0)  # of both of us: it goes on writing there
            self.said.truncate()
        shape = (self.picture.height, self.picture.width, self.picture.channels)
        return Frame(buffer[:, : shape[1] * shape[2]].reshape(shape), clock.seconds())

    def _ended(self, left: int) -> None:
        """Judge the end: what was said, and whether the last frame was whole. Cameras and streams have none.

        Where a server of RTSP is gone ffmpeg says nothing, and ends with 0.
        """
        status = self.process.wait()
        self.said.seek(0)
        lines = [line.strip() for line in self.said.read().decode("utf-8", "replace").splitlines()]
        told = [line for line in lines if line and not line.startswith("0:00:")]
        is_file = self.source.kind == "file"
        if is_file and self.frames and not status and not left and not told:
            return
        said = ": ".join(told[:2] if is_file or not self.frames else told[-2:])[:300]
        said = said or ("it ended with %d" % status if status else "it ended")
        remedy = next((hint for word, hint in REMEDIES if word in " ".join(told).lower()), "")
        if not self.frames:
            raise DeviceError("%s gives no frame: %s" % (self.source.name, said), remedy or "is it a video?")
        raise DeviceError(
            "%s breaks off after %d frames: %s" % (self.source.name, self.frames, said),
            remedy or "nothing is said of what was measured: %s" % ENDS[self.source.kind],
        )

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()
        self.said.close()


class Newest:
    """A live source: a thread reads on, and who is late finds the newest frame; the others are lost and counted."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder, self.dropped = decoder, 0
        self.frame: Optional[Frame] = None
        self.error: Optional[RunnerError] = None
        self.ended = self.closed = False
        self.change = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            while not self.closed:
                frame = self.decoder.read()
                with self.change:
                    self.dropped += self.frame is not None and frame is not None
                    self.frame = frame or self.frame
                    self.ended = frame is None
                    self.change.notify_all()
                if frame is None:
                    return
        except (RunnerError, ValueError, OSError) as error:  # a pipe that is closed under it
            with self.change:
                self.error = error if isinstance(error, RunnerError) else None
                self.ended = True
                self.change.notify_all()

    def read(self) -> Optional[Frame]:
        """The newest frame that was not given yet; waits for one. None at the end."""
        with self.change:
            while self.frame is None and not self.ended:
                self.change.wait(1.0)
            if self.error is not None:
                raise self.error
            frame, self.frame = self.frame, None
            return frame

    def close(self) -> None:
        """End it."""
        self.closed = True
        self.decoder.process.kill()
        self.thread.join()
        self.decoder.close()


class Streams:
    """Several sources, a frame of each in turn."""

    def __init__(self, name: str, sources: List[Source], picture: Picture) -> None:
        self.all = [
            Newest(Decoder(name, one, picture)) if one.live else Decoder(name, one, picture)
            for one in sources
        ]
        self.open = list(range(len(self.all)))
        self.turn = 0

    def begin(self) -> None:
        """Wait for the first frame of each, and let it go: starting a decoder is no part of what is measured."""
        for one in self.all:
            one.read()
            if isinstance(one, Newest):
                one.dropped = 0

    def gather(self, most: int) -> List[Tuple[int, Frame]]:
        """So many frames with the number of their stream, fewer at the end."""
        taken: List[Tuple[int, Frame]] = []
        while self.open and len(taken) < most:
            number = self.open[self.turn % len(self.open)]
            frame = self.all[number].read()
            if frame is None:
                self.open.remove(number)
            else:
                taken.append((number, frame))
                self.turn += 1
        return taken

    def dropped(self) -> int:
        """Frames of live sources that nobody looked at."""
        return sum(one.dropped for one in self.all if isinstance(one, Newest))

    def close(self) -> None:
        """End all of them."""
        for one in self.all:
            one.close()
