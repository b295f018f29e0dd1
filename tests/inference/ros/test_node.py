import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from tests.ros_bags import START_US, STORE, SWEEPS_US, cloud_message, toytown_drive

from clip2scene.inference.ros import node
from clip2scene.inference.ros.answers import CLASSES


class Robot:
    """Stands in for rclpy: a node whose spinning hands it recorded clouds."""

    def __init__(self, told, clouds, end):
        self.told, self.clouds, self.end = told, clouds, end
        self.published, self.warnings, self.errors, self.closed = {}, [], [], False

    def resolve_topic_name(self, topic):
        assert topic == "points"
        return "/lidar/points"

    def declare_parameter(self, name, usual, descriptor):
        value = self.told.get(name, usual)
        if not descriptor.dynamic_typing:
            assert type(value) is type(usual)  # or rclpy raises InvalidParameterTypeException
        return SimpleNamespace(value=value)

    def create_publisher(self, kind, topic, profile):
        self.published[topic] = []
        return SimpleNamespace(publish=self.published[topic].append)

    def create_subscription(self, kind, topic, receive, profile):
        assert (topic, profile.depth) == ("points", 1)
        self.receive = receive

    def get_logger(self):
        return SimpleNamespace(warning=self.warnings.append, error=self.errors.append)

    def spin(self):
        for cloud in self.clouds:
            self.receive(cloud)
        raise self.end

    def destroy_node(self):
        self.closed = True


@pytest.fixture
def run(monkeypatch):
    """Run the node with parameters on some clouds."""

    def run(told, clouds=(), end="interrupt"):
        library, qos = ModuleType("rclpy"), ModuleType("rclpy.qos")
        executors, interfaces = ModuleType("rclpy.executors"), ModuleType("rcl_interfaces.msg")
        executors.ExternalShutdownException = type("ExternalShutdownException", (Exception,), {})
        interfaces.ParameterDescriptor = lambda dynamic_typing: SimpleNamespace(dynamic_typing=dynamic_typing)
        ends = {"interrupt": KeyboardInterrupt, "shutdown": executors.ExternalShutdownException}
        robot = Robot(told, clouds, ends[end]())
        library.init, library.try_shutdown = lambda args: None, lambda: None
        library.create_node, library.spin = lambda name: robot, lambda made: robot.spin()
        qos.QoSProfile = lambda **told: SimpleNamespace(**told)
        qos.DurabilityPolicy = SimpleNamespace(TRANSIENT_LOCAL="lasting")
        qos.ReliabilityPolicy = SimpleNamespace(BEST_EFFORT="best effort")
        modules = {each.__name__: each for each in (library, qos, executors, interfaces)}
        for kind, made in STORE.types.items():
            package, _, name = kind.rpartition("/")
            place = package.replace("/", ".")
            modules.setdefault(place, ModuleType(place))
            setattr(modules[place], name, _usual(made))
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        node.main([])
        assert robot.closed
        return robot

    return run


def _usual(made):
    """Make a class of messages whose fields may be left out, as in ROS."""

    def make(**values):
        return SimpleNamespace(**{name: values.get(name) for name in made.__dataclass_fields__})

    return make


def clouds():
    return [message for topic, _, message in toytown_drive().messages if topic == "/points"]


def test_each_cloud_is_answered_and_a_broken_one_is_passed_over(run):
    broken = cloud_message(START_US, {"x": (0, 7, np.zeros(3, np.float32))})
    robot = run({"prompts": "car, road, building", "remove": "car"}, [clouds()[0], broken, clouds()[1]])
    (listed,) = robot.published.pop(CLASSES)
    assert [each["name"] for each in json.loads(listed.data)["classes"]] == ["car", "road", "building"]
    assert {topic: len(made) for topic, made in robot.published.items()} == {
        f"/lidar/points/{name}": 2 for name in ("segmentation", "visualization", "filtered")
    }
    first = robot.published["/lidar/points/segmentation"][0]
    assert first.header.stamp.nanosec == 1000 * SWEEPS_US[0] and first.header.frame_id == "lidar"
    assert first.data.typecode == "B" and len(first.data) == first.point_step * len(clouds()[0].data) // 32
    assert len(robot.warnings) == 1 and "passed over" in robot.warnings[0] and not robot.errors


def test_nothing_is_filtered_unless_asked_for(run):
    robot = run({"prompts": "road", "intensity_max": 1}, clouds()[:1], end="shutdown")
    assert list(robot.published) == ["/lidar/points/segmentation", "/lidar/points/visualization", CLASSES]
    assert not robot.errors and not robot.warnings


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "the parameter prompts is empty"),
        ({"prompts": "car", "abstain": 2.0}, "--abstain is a score"),
        ({"prompts": "car", "remove": "bus"}, "--remove names bus"),
        ({"prompts": "car", "run": "/nowhere"}, "nowhere"),
        ({"prompts": "car", "run": 2024}, "2024"),
        (
            {"prompts": "car", "intensity_max": "loud"},
            "the parameter intensity_max is 'loud', expected a number",
        ),
        (
            {"prompts": "car", "quality": "best"},
            "the parameter quality is 'best', expected low, medium, high",
        ),
        ({"prompts": "car", "axes": "XYZ"}, "--axes is 'XYZ'"),
    ],
)
def test_an_unfit_parameter_stops_it_with_one_sentence(told, message, run):
    (error,) = run(told).errors
    assert message in error


def test_the_launch_file_starts_the_node_with_its_arguments(monkeypatch):
    given = {"points": "/lidar", "run": "small", "prompts": "driver's seat, road", "remove": ""}
    launch, actions, substitutions = (
        ModuleType(name) for name in ("launch", "launch.actions", "launch.substitutions")
    )
    launch.LaunchDescription, launch.LaunchContext = list, dict
    actions.DeclareLaunchArgument = lambda name, default_value: name
    actions.OpaqueFunction = lambda function: function
    actions.ExecuteProcess = lambda cmd, output: cmd
    substitutions.LaunchConfiguration = lambda name: SimpleNamespace(perform=lambda context: context[name])
    for module in (launch, actions, substitutions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    path = Path(__file__).parents[3] / "examples" / "ros2" / "segment.launch.py"
    *arguments, start = runpy.run_path(str(path))["generate_launch_description"]()
    (command,) = start(given)
    assert command[command.index("-m") + 1] == node.__name__ and "points:=/lidar" in command
    told = dict(each.split(":=", 1) for each in command if ":='" in each)
    assert set(told) < set(node.PARAMETERS) and arguments == ["points", *told]
    assert {name: yaml.safe_load(value) for name, value in told.items()} == {
        name: given[name] for name in told
    }
