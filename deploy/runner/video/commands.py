"""The programs that decode: GStreamer on a board, where it has NVIDIA's decoder, and ffmpeg anywhere.

Both scale to what the network sees, so that a frame that comes through the pipe is no larger than it must be. Neither
does it to the bit as the run's data was resized (docs/video.md): a benchmark measures time.
"""

import os
import shutil
import subprocess
from typing import List, NamedTuple

from ..system.failures import BundleError, DeviceError, ToolMissing
from .picture import Picture

GREY = {"rgb": "rgb24", "bgr": "bgr24", "grey": "gray"}
FORMATS = {"rgb": "RGB", "bgr": "BGR", "grey": "GRAY8"}
CSI = "csi"
STREAMS = ("rtsp://", "rtsps://", "http://", "https://", "udp://")
INSTALL = "sudo apt install ffmpeg (on a board GStreamer is there: gstreamer1.0-tools)"


class Source(NamedTuple):
    """Where frames come from."""

    name: str
    kind: str  # file, camera or stream
    live: bool  # frames come when they come: who is late loses some


def source_of(text: str, real_time: bool) -> Source:
    """Raises BundleError or DeviceError where it is not there."""
    if text.startswith(STREAMS):
        return Source(text, "stream", True)
    if text == CSI or text.startswith("/dev/"):
        if text != CSI and not os.path.exists(text):
            raise DeviceError("there is no camera %s" % text, "ls /dev/video* shows those that are there")
        return Source(text, "camera", True)
    if not os.path.isfile(text):
        raise BundleError("there is no video %s" % text, "name a file, /dev/videoN, csi, or rtsp://...")
    return Source(os.path.abspath(text), "file", real_time)


def choose(asked: str, source: Source) -> str:
    """`gstreamer` or `ffmpeg`; of itself GStreamer only where it decodes by hardware."""
    has = {"gstreamer": bool(shutil.which("gst-launch-1.0")), "ffmpeg": bool(shutil.which("ffmpeg"))}
    if asked == "auto":
        asked = "gstreamer" if source.name == CSI or (has["gstreamer"] and by_hardware()) else "ffmpeg"
    if not has[asked]:
        program = {"gstreamer": "gst-launch-1.0", "ffmpeg": "ffmpeg"}[asked]
        raise ToolMissing("no %s is found here, and it decodes the video" % program, INSTALL)
    if asked == "ffmpeg" and source.name == CSI:
        raise BundleError("ffmpeg reads no CSI camera", "leave --decoder out: GStreamer reads it")
    return asked


def by_hardware() -> bool:
    """Whether GStreamer has the decoder of a Jetson."""
    return _has("nvv4l2decoder")


def _has(element: str) -> bool:
    words = ["gst-inspect-1.0", "--exists", element]
    try:
        return (
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30).returncode
            == 0
        )
    except (OSError, subprocess.SubprocessError):
        return False


def command(decoder: str, source: Source, picture: Picture) -> List[str]:
    """Frames as raw pixels to standard output, at once if the source is a file, unless it plays as it was taken."""
    return _gstreamer(source, picture) if decoder == "gstreamer" else _ffmpeg(source, picture)


def _ffmpeg(source: Source, picture: Picture) -> List[str]:
    words = ["ffmpeg", "-nostdin", "-loglevel", "error"]
    # What is damaged ends a file; a live stream loses a packet now and then, and goes on.
    words += ["-xerror"] if source.kind == "file" else []
    if source.kind == "camera":
        words += ["-f", "v4l2"]
    elif source.name.startswith("rtsp"):
        words += ["-rtsp_transport", "tcp"]
    elif source.kind == "file" and source.live:
        words += ["-re"]
    name = "file:" + source.name if source.kind == "file" else source.name
    words += ["-i", name, "-map", "0:v:0", "-vf", _filters(picture)]
    return words + ["-f", "rawvideo", "-pix_fmt", GREY[picture.colour], "pipe:1"]


def _filters(picture: Picture) -> str:
    """Scale and place as the run's data was, with a filter that smooths what it shrinks."""
    width, height = picture.width, picture.height
    if picture.fit == "stretch":
        return "scale=%d:%d:flags=bilinear" % (width, height)
    if picture.fit == "crop":
        sides = (round(width / picture.crop), round(height / picture.crop), width, height)
        return "scale=%d:%d:force_original_aspect_ratio=increase:flags=bilinear,crop=%d:%d" % sides
    place = "0:0" if picture.fit == "letterbox-corner" else "(ow-iw)/2:(oh-ih)/2"
    return "scale=%d:%d:force_original_aspect_ratio=decrease:flags=bilinear,pad=%d:%d:%s:color=0x%s" % (
        width, height, width, height, place, ("%02x" % picture.border) * 3,
    )  # fmt: skip


def _gstreamer(source: Source, picture: Picture) -> List[str]:
    if picture.fit not in ("stretch", "letterbox"):
        raise BundleError(
            "GStreamer's filters cannot place a frame by %s" % picture.fit,
            "--decoder ffmpeg does it on the CPU",
        )
    size = "width=%d,height=%d" % (picture.width, picture.height)
    last = "video/x-raw,format=%s,%s,pixel-aspect-ratio=1/1" % (FORMATS[picture.colour], size)
    nvidia = [
        "nvvidconv",
        "!",
        "video/x-raw,format=BGRx" + ("," + size if picture.fit == "stretch" else ""),
        "!",
    ]
    borders = "add-borders=%s" % ("false" if picture.fit == "stretch" else "true")
    return (
        ["gst-launch-1.0", "-q"]
        + _input(source)
        + ["!"]
        + (nvidia if _has("nvvidconv") else [])
        + ["videoconvert", "!", "videoscale", borders, "!", "videoconvert", "!", last, "!"]
        + ["fdsink", "fd=1", "sync=%s" % ("true" if source.live and source.kind == "file" else "false")]
    )


def _input(source: Source) -> List[str]:
    if source.name == CSI:
        return ["nvarguscamerasrc", "!", "video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1"]
    if source.kind == "camera":
        return ["v4l2src", "device=" + source.name, "!", "decodebin"]
    if source.kind == "stream":
        return ["uridecodebin", "uri=" + source.name]
    return ["filesrc", "location=" + source.name, "!", "decodebin"]
