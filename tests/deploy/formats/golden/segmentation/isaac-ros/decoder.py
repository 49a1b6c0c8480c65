#!/usr/bin/env python3
"""What the tensors of segmentation mean: sensor_msgs/Image (mono8: the class of each pixel), on /segmentation.

Made by jetpress from the run segmentation-orin-nano-0123abcd.
"""

import array
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "bundle", "runner.pyz"))
import numpy as np

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
    first = outputs["output"][0]
    return first.argmax(0).astype(np.uint8)


def main():
    """Until the node is stopped."""
    import rclpy
    from isaac_ros_tensor_list_interfaces.msg import TensorList
    from sensor_msgs.msg import Image as Message

    width, height = int(sys.argv[1]), int(sys.argv[2])
    rclpy.init()
    node = rclpy.create_node("segmentation_decoder")
    publisher = node.create_publisher(Message, "segmentation", 10)

    def heard(given):
        found = understood(arrays(given.tensors), width, height)
        message = Message()
        message.header = given.header
        message.height, message.width, message.encoding, message.step = *found.shape, "mono8", found.shape[1]
        message.data = array.array("B", found.tobytes())
        publisher.publish(message)

    node.create_subscription(TensorList, "/tensor_sub", heard, 10)
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()


if __name__ == "__main__":
    main()
