"""A real RTSP server on loopback, of GStreamer: `python3 rtsp_server.py FILE SHARE` prints its port, and plays.

The file is H.264 in MP4; each byte of its pictures is another one with a probability of SHARE.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
path, share = sys.argv[1:]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( filesrc location={path} ! qtdemux ! h264parse ! breakmydata probability={share} skip=2000 seed=1 ! "
    "rtph264pay name=pay0 pt=96 config-interval=1 )"
)
server.get_mount_points().add_factory("/s", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
