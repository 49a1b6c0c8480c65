"""detection in ROS 2: encoder, TensorRT, decoder. Made by jetpress from the run detection-orin-nano-0123abcd.

ros2 launch detection.launch.py input_image_width:=1280 input_image_height:=720 image_topic:=/image_raw
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode

HERE = os.path.dirname(os.path.abspath(__file__))


def generate_launch_description():
    """Three programs: images to tensors, tensors to tensors, tensors to what they mean."""
    width, height, image, info = (
        LaunchConfiguration(name)
        for name in ("input_image_width", "input_image_height", "image_topic", "camera_info_topic")
    )
    # NVIDIA's own launch file of the encoder is what its releases have in common: up to 4.4 it starts seven nodes, since
    # 4.5 one. Only the newer one stretches where padding is off; the older ones stretch where no aspect ratio is kept.
    place = get_package_share_directory("isaac_ros_dnn_image_encoder")
    path = os.path.join(place, "launch", "dnn_image_encoder.launch.py")
    with open(path) as file:
        is_older = "final_tensor_name" in file.read()
    encoder = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path),
        launch_arguments={
            "input_image_width": width,
            "input_image_height": height,
            "network_image_width": "64",
            "network_image_height": "48",
            "input_encoding": "rgb8",
            "encoding_desired": "rgb8",
            "image_mean": "[0.5, 0.5, 0.5]",
            "image_stddev": "[0.5, 0.5, 0.5]",
            "keep_aspect_ratio": "True",
            "enable_padding": "True",
            "final_tensor_name": "input",
            "tensor_name": "input",
            "attach_to_shared_component_container": "True",
            "component_container_name": "/detection_container",
            "dnn_image_encoder_namespace": "detection_encoder",
            "image_input_topic": image,
            "camera_info_input_topic": info,
            "tensor_output_topic": "/tensor_pub",
        }.items(),
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
                "output_tensor_names": ['boxes', 'scores'],
                "output_binding_names": ['boxes', 'scores'],
                "verbose": False,
            }
        ],
        remappings=[("tensor_pub", "/tensor_pub"), ("tensor_sub", "/tensor_sub")],
    )
    container = ComposableNodeContainer(
        name="detection_container",
        namespace="",
        package="rclcpp_components",
        executable="component_container_mt",
        composable_node_descriptions=[network],
        output="screen",
    )
    decoder = ExecuteProcess(
        cmd=["python3", os.path.join(HERE, "decoder.py"), width, height, image], output="screen"
    )
    arguments = [
        DeclareLaunchArgument("input_image_width", default_value="1280"),
        DeclareLaunchArgument("input_image_height", default_value="720"),
        DeclareLaunchArgument("image_topic", default_value="/image"),
        DeclareLaunchArgument("camera_info_topic", default_value="/camera_info"),
    ]
    return LaunchDescription([*arguments, container, encoder, decoder])
