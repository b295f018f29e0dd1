"""Start the node that labels clouds: ``ros2 launch segment.launch.py points:=/lidar/points``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

USUAL = {"points": "/points", "run": "builtin", "prompts": "car,person,road", "remove": ""}


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments, as ROS 2 asks for it."""
    told = {name: LaunchConfiguration(name) for name in USUAL}
    node = [
        "python3",
        "-m",
        "clip2scene.inference.ros.node",
        "--ros-args",
        "-r",
        ["points:=", told["points"]],
    ]
    for name in ("run", "prompts", "remove"):
        node += ["-p", [f"{name}:='", told[name], "'"]]
    arguments = [DeclareLaunchArgument(name, default_value=usual) for name, usual in USUAL.items()]
    return LaunchDescription([*arguments, ExecuteProcess(cmd=node, output="screen")])
