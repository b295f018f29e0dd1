"""Start the node that labels clouds: ``ros2 launch segment.launch.py points:=/lidar/points``."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

USUAL = {"points": "/points", "run": "builtin", "prompts": "car,person,road", "remove": ""}


def start(context: LaunchContext) -> list[ExecuteProcess]:
    """Start the node with the arguments; an apostrophe within one is doubled, as YAML wants it."""
    told = {name: LaunchConfiguration(name).perform(context) for name in USUAL}
    node = [
        "python3",
        "-m",
        "clip2scene.inference.ros.node",
        "--ros-args",
        "-r",
        f"points:={told.pop('points')}",
    ]
    for name, value in told.items():
        node += ["-p", f"{name}:='" + value.replace("'", "''") + "'"]
    return [ExecuteProcess(cmd=node, output="screen")]


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments, as ROS 2 asks for it."""
    arguments = [DeclareLaunchArgument(name, default_value=usual) for name, usual in USUAL.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
