#!/usr/bin/env python3
"""segmentation: frames in, results drawn. Python 3.6 or newer, numpy, OpenCV, Pillow; the runner does the rest."""
import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "bundle", "runner.pyz"))
import cv2
import numpy as np
from PIL import Image
from runner.backends import open_backend
from runner.engines.manifest import Bundle
from runner.engines.stamp import open_engines
from runner.system.failures import RunnerError

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


def main(source, out, lines):
    """Frame by frame, until the source ends or `q` is pressed."""
    session = open_engines(BUNDLE, os.path.join(HERE, "engine"), open_backend(PLAN))["compressed"]
    if sorted(session.output_names) != ['output']:
        raise RunnerError("the engine gives %s, not output" % session.output_names, "run build.sh")
    source, how = (CSI, cv2.CAP_GSTREAMER) if source == "csi" else (source, cv2.CAP_ANY)
    frames = cv2.VideoCapture(int(source) if source.isdigit() else source, how)
    there, frame = frames.read()
    if not there:
        raise RunnerError("%s gives no frame" % source, "is it there, free, and its codec installed?")
    video = cv2.VideoWriter(out, cv2.VideoWriter_fourcc(*"mp4v"), 30, frame.shape[1::-1]) if out else None
    batch = session.inputs[0].shape[0]
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
    told.add_argument("--json", type=argparse.FileType("w"), help="write what is found, one line a frame")
    told = told.parse_args()
    try:
        BUNDLE = Bundle(os.path.join(HERE, "bundle"))
        PLAN = BUNDLE.plan
        main(told.source, told.out, told.json)
    except RunnerError as error:
        sys.exit("error: %s\n  hint: %s" % (error.what, error.hint))
