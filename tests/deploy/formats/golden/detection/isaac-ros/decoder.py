#!/usr/bin/env python3
"""What the tensors of detection mean: vision_msgs/Detection2DArray, on /detections.

Made by jetpress from the run detection-orin-nano-0123abcd.
"""

import array
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "bundle", "runner.pyz"))
import numpy as np
from runner.decode.detections import detections

with open(os.path.join(HERE, "bundle", "plan.json"), encoding="utf-8") as file:
    PLAN = json.load(file)
with open(os.path.join(HERE, "labels.txt"), encoding="utf-8") as file:
    LABELS = file.read().splitlines()
HEIGHT, WIDTH = 48, 64


def arrays(tensors):
    """Name -> array, of a TensorList, by the types and shapes of the plan; an engine of another network is refused."""
    given, made = {one.name: bytes(one.data) for one in tensors}, {}
    for told in PLAN["outputs"]:
        kind, shape = np.dtype(told["dtype"]), [side if isinstance(side, int) else 1 for side in told["shape"]]
        size = int(np.prod(shape)) * kind.itemsize
        if len(given.get(told["name"], b"")) != size:
            raise ValueError("the engine is of another network than plan.json: it gives %s" % sorted(given))
        made[told["name"]] = np.frombuffer(given[told["name"]], kind).reshape(shape)
    return made


def placed(width, height):
    """Where the encoder puts an image: its width and height in the network's input, left, top."""
    scale = min(WIDTH / width, HEIGHT / height)
    w, h = int(width * scale), int(height * scale)
    return w, h, (WIDTH - w) // 2, (HEIGHT - h) // 2


def understood(outputs, width, height):
    """What was found in an image of this size."""
    boxes, scores, labels = detections(outputs, PLAN["detection"])[0]
    w, h, left, top = placed(width, height)
    return (boxes - np.array([left, top] * 2)) * np.array([width / w, height / h] * 2), scores, labels


def drawn(image, found):
    """The data of an image of three channels of a byte, with the boxes that were found in it."""
    pixels = np.frombuffer(bytes(image.data), np.uint8).reshape(image.height, image.step).copy()
    shown = pixels[:, : 3 * image.width].reshape(image.height, image.width, 3)
    for (x1, y1, x2, y2), _, label in zip(*found):
        left, right = [int(min(max(side, 0), image.width - 1)) for side in (x1, x2)]
        top, bottom = [int(min(max(side, 0), image.height - 1)) for side in (y1, y2)]
        colour = [(37 * int(label) + 85 * channel) % 256 for channel in range(3)]
        for edge in (slice(top, top + 2), slice(bottom - 1, bottom + 1)):
            shown[edge, left : right + 1] = colour
        for edge in (slice(left, left + 2), slice(right - 1, right + 1)):
            shown[top : bottom + 1, edge] = colour
    return array.array("B", pixels.tobytes())


def main():
    """Until the node is stopped."""
    import rclpy
    from isaac_ros_tensor_list_interfaces.msg import TensorList
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from vision_msgs.msg import BoundingBox2D, Detection2D, ObjectHypothesisWithPose
    from vision_msgs.msg import Detection2DArray as Message

    width, height = int(sys.argv[1]), int(sys.argv[2])
    rclpy.init()
    node = rclpy.create_node("detection_decoder")
    publisher = node.create_publisher(Message, "detections", 10)
    view, images = node.create_publisher(Image, "detections/image", 10), {}

    def kept(image):
        images[image.header.stamp.sec, image.header.stamp.nanosec] = image
        while len(images) > 30:
            del images[next(iter(images))]

    def heard(given):
        found = understood(arrays(given.tensors), width, height)
        message = Message()
        message.header = given.header
        for (x1, y1, x2, y2), score, label in zip(*found):
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = LABELS[label], float(score)
            box = BoundingBox2D(size_x=float(x2 - x1), size_y=float(y2 - y1))
            box.center.position.x, box.center.position.y = float(x1 + x2) / 2, float(y1 + y2) / 2
            message.detections.append(Detection2D(header=given.header, bbox=box, results=[result]))
        publisher.publish(message)
        image = images.pop((given.header.stamp.sec, given.header.stamp.nanosec), None)
        if image is not None and view.get_subscription_count():
            image.data = drawn(image, found)
            view.publish(image)

    node.create_subscription(TensorList, "/tensor_sub", heard, 10)
    node.create_subscription(Image, sys.argv[3], kept, qos_profile_sensor_data)
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()


if __name__ == "__main__":
    main()
