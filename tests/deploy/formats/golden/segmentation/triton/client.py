#!/usr/bin/env python3
"""segmentation: frames in, results drawn. Python 3.6 or newer, numpy, OpenCV, Pillow; the runner does the rest."""
import argparse
import json
import os
import sys
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "bundle", "runner.pyz"))
import cv2
import numpy as np
from PIL import Image
from runner.engines.manifest import Bundle
from runner.system.failures import RunnerError

TYPES = {'FP32': 'float32', 'FP16': 'float16', 'UINT8': 'uint8', 'INT8': 'int8', 'INT32': 'int32', 'INT64': 'int64', 'BOOL': 'bool'}
HEIGHT, WIDTH = 48, 64
CSI = ("nvarguscamerasrc ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! nvvidconv ! "
       "video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! appsink drop=1")


def placed(frame):
    """Where a frame lies in the network's input (letterbox): width, height, left, top."""
    h, w = frame.shape[:2]
    scale = min(WIDTH / w, HEIGHT / h)
    w, h = max(1, int(round(w * scale))), max(1, int(round(h * scale)))
    return w, h, (WIDTH - w) // 2, (HEIGHT - h) // 2


def prepared(frame):
    """The network's input of a frame; resized as in training, by Pillow (OpenCV's own does not smooth)."""
    w, h, left, top = placed(frame)
    whole = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    canvas = Image.new(whole.mode, (WIDTH, HEIGHT), (114, 114, 114))
    canvas.paste(whole if whole.size == (w, h) else whole.resize((w, h), Image.BILINEAR), (left, top))
    pixels = np.asarray(canvas).reshape(HEIGHT, WIDTH, 3)
    scaled = pixels.astype(np.float32) / np.float32(255.0)
    return ((scaled - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])).transpose(2, 0, 1)[None]


def understood(outputs, frame):
    """What the outputs mean, in the frame's own pixels."""
    mask = outputs["output"][0].argmax(0)
    mask = cv2.resize(mask.astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    w, h, left, top = placed(frame)
    (high, wide), x, y = frame.shape[:2], frame.shape[1] / w, frame.shape[0] / h
    back = np.float32([[x, 0, -left * x], [0, y, -top * y]])
    return {"mask": cv2.warpAffine(mask, back, (wide, high), flags=cv2.INTER_NEAREST)}


def drawn(frame, found):
    """The frame with what was found."""
    colours = cv2.applyColorMap((found["mask"] * 37).astype(np.uint8), cv2.COLORMAP_HSV)
    frame = np.where(found["mask"][..., None] > 0, cv2.addWeighted(frame, 0.5, colours, 0.5, 0), frame)
    return frame


class Server:
    """The network in a Triton server, asked over HTTP; tensors go as bytes (KServe's protocol, its binary extension)."""

    def __init__(self, address):
        self.address = address

    def infer(self, feeds):
        """Name -> array, there and back."""
        ((name, array),) = feeds.items()
        told = {"name": name, "shape": array.shape, "datatype": "FP32"}
        told["parameters"] = {"binary_data_size": array.nbytes}
        head = json.dumps({"inputs": [told], "parameters": {"binary_data_output": True}}).encode()
        address = "http://%s/v2/models/segmentation/infer" % self.address
        words = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
        try:
            request = urllib.request.Request(address, head + array.tobytes(), words)
            with urllib.request.urlopen(request, timeout=60) as answer:
                start, body = int(answer.headers["Inference-Header-Content-Length"]), answer.read()
        except urllib.error.HTTPError as error:
            raise RunnerError("the server says: %s" % error.read().decode("utf-8", "replace")[:300], "see its log")
        except OSError as error:
            raise RunnerError("no server at %s: %s" % (self.address, error), "tritonserver --model-repository=models")
        found, told = {}, json.loads(body[:start].decode())["outputs"]
        for one in told:
            end = start + one["parameters"]["binary_data_size"]
            found[one["name"]] = np.frombuffer(body[start:end], TYPES[one["datatype"]]).reshape(one["shape"])
            start = end
        return found


def main(source, out, lines, server):
    """Frame by frame, until the source ends or `q` is pressed."""
    session = Server(server)
    source, how = (CSI, cv2.CAP_GSTREAMER) if source == "csi" else (source, cv2.CAP_ANY)
    frames = cv2.VideoCapture(int(source) if source.isdigit() else source, how)
    there, frame = frames.read()
    if not there:
        raise RunnerError("%s gives no frame" % source, "is it there, free, and its codec installed?")
    video = cv2.VideoWriter(out, cv2.VideoWriter_fourcc(*"mp4v"), 30, frame.shape[1::-1]) if out else None
    batch = 1
    while there:
        outputs = session.infer({"input": np.repeat(prepared(frame), batch, axis=0)})
        found = understood(outputs, frame)
        if lines:
            lines.write(json.dumps(found, default=lambda array: array.tolist()) + "\n")
        frame = drawn(frame, found)
        if video:
            video.write(frame)
        elif not lines:
            cv2.imshow("segmentation", frame)
            if cv2.waitKey(1) == ord("q"):
                break
        there, frame = frames.read()
    frames.release()
    if video:
        video.release()


if __name__ == "__main__":
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("source", help="camera number (V4L2), csi, file, rtsp://... or frames/%%04d.png")
    told.add_argument("--out", help="write a video (.mp4), show no window")
    told.add_argument("--server", default="localhost:8000", help="its HTTP port (default: localhost:8000)")
    told.add_argument("--json", type=argparse.FileType("w"), help="write what is found, one line a frame")
    told = told.parse_args()
    try:
        BUNDLE = Bundle(os.path.join(HERE, "bundle"))
        PLAN = BUNDLE.plan
        main(told.source, told.out, told.json, told.server)
    except RunnerError as error:
        sys.exit("error: %s\n  hint: %s" % (error.what, error.hint))
