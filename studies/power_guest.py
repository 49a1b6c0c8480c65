"""On the disk of :mod:`studies.power_cut`: say what the last cut left, then deploy so many releases.

    power_guest.py RUNNER.pyz ROOT RELEASES COUNT

Runs on Python 3.6 and without a library. A line for each thing goes to the output.
"""

import hashlib
import importlib
import json
import os
import random
import sys

RUNNER, ROOT, MADE, COUNT = sys.argv[1:]
SIZE = 200_000


def release(number: int) -> str:
    """A bundle of random bytes; its number is in them."""
    folder = "%s/%d" % (MADE, number)
    os.makedirs(folder + "/samples", exist_ok=True)
    draw = random.Random(number)
    plan = {
        "format": 1,
        "name": "net",
        "backend": "onnxruntime",
        "precision": "fp32",
        "models": {"compressed": {"file": "model.onnx"}},
        "inputs": [{"name": "images", "shape": [1]}],
        "number": number,
    }
    contents = {
        "plan.json": json.dumps(plan).encode("ascii"),
        "model.onnx": draw.getrandbits(8 * SIZE).to_bytes(SIZE, "big"),
    }
    for sample in range(4):
        contents["samples/%d.npy" % sample] = draw.getrandbits(8 * 4000).to_bytes(4000, "big")
    files = {}
    for name, content in contents.items():
        with open("%s/%s" % (folder, name), "wb") as target:
            target.write(content)
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with open(folder + "/manifest.json", "w") as target:
        json.dump({"files": files}, target)
    return folder


def build(folder: str) -> None:
    """An engine: the model's bytes backwards, with a stamp that says their digest."""
    os.makedirs(folder + "/engines", exist_ok=True)
    with open(folder + "/model.onnx", "rb") as source:
        content = source.read()
    with open(folder + "/engines/compressed.engine", "wb") as target:
        target.write(content[::-1])
    facts = {
        "file": "compressed.engine",
        "size": len(content),
        "sha256": hashlib.sha256(content[::-1]).hexdigest(),
    }
    facts.update(onnx_sha256=hashlib.sha256(content).hexdigest(), key="k")
    with open(folder + "/engines/engine.json", "w") as target:
        json.dump({"format": 1, "backend": "onnxruntime", "models": {"compressed": facts}}, target)


def main() -> None:
    """Judge, say so, go on."""
    sys.path.insert(0, RUNNER)
    deployment, slots = (
        importlib.import_module("runner.release." + name) for name in ("deployment", "slots")
    )
    place, out = slots.Place(ROOT, "net"), os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr = open("/dev/null", "w")
    link = place.current()
    before = "none" if link is None else slots.damage(place, link) or "whole"
    slot = deployment.boot(place, lambda folder: None)
    number = 0
    if slot is not None:
        with open(place.path(slot.number) + "/plan.json") as source:
            number = json.load(source)["number"]
    left = (
        [name for name in os.listdir(place.releases) if name.startswith(".")]
        if os.path.isdir(place.releases)
        else []
    )
    out.write("CUT %s\n" % json.dumps({"before": before, "serves": number, "left": left}))
    out.flush()
    asked = deployment.Asked(root=ROOT, signers="/nobody")
    for new in range(number + 1, number + 1 + int(COUNT)):
        out.write("BEGIN %d\n" % new)
        out.flush()
        deployment.deploy(release(new), asked, build, lambda folder: None)
        out.write("DONE %d\n" % new)
        out.flush()


main()
