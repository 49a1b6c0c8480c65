"""Isaac ROS: a launch file with its encoder and its TensorRT node, and a node that reads the outputs as the run did."""

from __future__ import annotations

from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.formats import written
from jetpress.deploy.formats.subject import Subject, require_tensorrt

TRIED = (
    "The launch file was read by ROS 2's own `launch` together with NVIDIA's launch file of the encoder of Isaac ROS "
    "3.2 and of 4.5, and its nodes have the parameters that they should have; the decoder's reading of the tensors "
    "was run on a host, and finds what `runner.pyz infer` finds. No machine with ROS 2 has run it."
)
MESSAGES = {
    "detection": ("vision_msgs/Detection2DArray", "detections", "`vision_msgs`"),
    "classification": ("vision_msgs/Classification", "classification", "`vision_msgs`"),
    "segmentation": ("sensor_msgs/Image (mono8: the class of each pixel)", "segmentation", "`sensor_msgs`"),
}
LIGHT = 255.0
"""What the encoder divides pixels by."""


def write(subject: Subject, place: Path) -> None:
    """Launch file, decoder, labels, engine and bundle."""
    require_tensorrt(subject, "Isaac ROS")
    image, task = subject.image, subject.task
    if image.in_graph or image.channels != 3:
        raise RecipeError(
            f"input {image.tensor.name} takes {image.tensor.dtype} images of {image.channels} channels, and "
            "the encoder of Isaac ROS gives normalised float images of 3",
            'set export.input = "network" and run again',
        )
    if image.fit == "letterbox-corner":
        raise RecipeError(
            "the network was told to see images at the top left corner, and the encoder puts them into the middle",
            "give the file with --fit letterbox",
        )
    if task not in MESSAGES:
        raise RecipeError(f"no message of ROS 2 says what {task} gives", "take the package for python")
    written.engine_and_bundle(place, subject)
    written.labels(place / "labels.txt", subject)
    message, topic, messages = MESSAGES[task]
    known = {
        "onnx": subject.bundle.models[subject.model].file,
        "encoding": f"{image.colour}8",
        "mean": [round(one * image.scale / LIGHT, 9) for one in image.mean],
        "std": [round(one * image.scale / LIGHT, 9) for one in image.std],
        "outputs": [one.name for one in subject.outputs],
        "message": message,
        "topic": topic,
        "messages": messages,
        "differs": _differs(subject),
    }
    written.fill("isaac_ros/launch.py", place / f"{written.slug(subject)}.launch.py", subject, **known)
    for name in ("decoder.py", "README.md"):
        written.fill(f"isaac_ros/{name}", place / name, subject, **known)


def _differs(subject: Subject) -> list[str]:
    said = ["Images are scaled without smoothing; in training they are smoothed."]
    if subject.image.fit == "letterbox":
        said.append(
            f"Letterboxed images have a black border; in training it is grey ({subject.image.border})."
        )
    if subject.image.fit == "crop":
        said.append(
            "The whole image is stretched to the network's size: the encoder does not crop its middle."
        )
    return said
