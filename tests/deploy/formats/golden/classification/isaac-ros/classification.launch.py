"""classification in ROS 2: encoder, TensorRT, decoder. Made by jetpress from the run classification-orin-nano-0123abcd.

ros2 launch classification.launch.py input_image_width:=1280 input_image_height:=720 image_topic:=/image_raw
"""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode
from launch_ros.parameter_descriptions import ParameterValue

HERE = os.path.dirname(os.path.abspath(__file__))


def generate_launch_description():
    """Three programs: images to tensors, tensors to tensors, tensors to what they mean."""
    width, height, image, info = (
        LaunchConfiguration(name)
        for name in ("input_image_width", "input_image_height", "image_topic", "camera_info_topic")
    )
    encoder = ComposableNode(
        name="dnn_image_encoder",
        package="isaac_ros_dnn_image_encoder",
        plugin="nvidia::isaac_ros::dnn_inference::DnnImageEncoderNode",
        parameters=[
            {
                "input_image_width": ParameterValue(width, value_type=int),
                "input_image_height": ParameterValue(height, value_type=int),
                "network_image_width": 64,
                "network_image_height": 48,
                "input_encoding": "rgb8",
                "image_mean": [0.485, 0.456, 0.406],
                "image_stddev": [0.229, 0.224, 0.225],
                "enable_padding": True,
                "tensor_name": "input",
            }
        ],
        remappings=[
            ("image", image),
            ("camera_info", info),
            ("tensors", "/tensor_pub"),
            ("encoded_tensor", "/tensor_pub"),
        ],
    )
    network = ComposableNode(
        name="tensor_rt",
        package="isaac_ros_tensor_rt",
        plugin="nvidia::isaac_ros::dnn_inference::TensorRTNode",
        parameters=[
            {
                "model_file_path": os.path.join(HERE, "bundle", "model.onnx"),
                "engine_file_path": os.path.join(HERE, "engine", "compressed.engine"),
                "force_engine_update": False,
                "input_tensor_names": ["input"],
                "input_binding_names": ["input"],
                "output_tensor_names": ['output'],
                "output_binding_names": ['output'],
                "verbose": False,
            }
        ],
        remappings=[("tensor_pub", "/tensor_pub"), ("tensor_sub", "/tensor_sub")],
    )
    container = ComposableNodeContainer(
        name="classification_container",
        namespace="",
        package="rclcpp_components",
        executable="component_container_mt",
        composable_node_descriptions=[encoder, network],
        output="screen",
    )
    decoder = ExecuteProcess(
        cmd=["python3", os.path.join(HERE, "decoder.py"), width, height], output="screen"
    )
    arguments = [
        DeclareLaunchArgument("input_image_width", default_value="1280"),
        DeclareLaunchArgument("input_image_height", default_value="720"),
        DeclareLaunchArgument("image_topic", default_value="/image"),
        DeclareLaunchArgument("camera_info_topic", default_value="/camera_info"),
    ]
    return LaunchDescription([*arguments, container, decoder])
