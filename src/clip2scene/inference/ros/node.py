r"""A node of ROS 2 that answers each cloud as it comes.

Where ROS 2 is installed beside this package::

    python -m clip2scene.inference.ros.node --ros-args -r points:=/lidar/points \
        -p run:=builtin -p "prompts:='car, person, road'" -p "remove:='car, person'"

It listens to a topic, here ``/lidar/points``, and publishes ``segmentation``, ``visualization`` and, with
``remove``, ``filtered`` below it (:mod:`clip2scene.inference.ros.answers`), and the classes, once. While it
is busy, only the newest cloud waits. ``rclpy`` is imported in :func:`main` alone. It was tested with recorded
messages and a stand-in for it, never on a robot.
"""

import importlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clip2scene.datasets.clouds import Spread, intensity_max
from clip2scene.datasets.convert.ros_bag import CLOUD, Message
from clip2scene.datasets.convert.ros_messages import read_points
from clip2scene.datasets.convert.ros_writer import STRING
from clip2scene.inference.predict import TURNS
from clip2scene.inference.ros.answers import CLASSES, Answers, Labelling, check_classes
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.text_embeddings import read_words

TOPIC = "points"

PARAMETERS: dict[str, Any] = {
    **{"run": "builtin", "prompts": "", "remove": "", "axes": "FLU", "quality": "medium"},
    **{"abstain": 0.0, "intensity_max": 0.0},
}
"""The node's parameters, and what each is if left out: those of ``clip2scene segment``; ``intensity_max`` 0
guesses it from the first cloud."""


def make_message(kind: str, **values: Any) -> Message:  # noqa: ANN401 - fields of messages
    """Make a message with the classes of ROS 2's Python."""
    package, _, name = kind.rpartition("/")
    if isinstance(values.get("data"), np.ndarray):
        values["data"] = array("B", values["data"].tobytes())
    return getattr(importlib.import_module(package.replace("/", ".")), name)(**values)


@dataclass
class Answerer:
    """Answers clouds by the node's parameters.

    Attributes:
        labelling: How clouds are labelled.
        answers: Makes the messages.
        scale_known: Whether the intensity that becomes 1 is known.
        topic: Where the clouds come from.
    """

    labelling: Labelling
    answers: Answers
    scale_known: bool
    topic: str

    @classmethod
    def of(cls, told: dict[str, Any], topic: str) -> "Answerer":
        """Open what the parameters name.

        Args:
            told: Their values; numbers may stand for texts, and texts for numbers.
            topic: Where the clouds come from.

        Raises:
            ValueError: If one is unfit.
        """
        told = {name: _as_usual(name, value) for name, value in told.items()}
        prompts, removed = (read_words(told[name]) if told[name] else () for name in ("prompts", "remove"))
        if not prompts:
            raise ValueError("the parameter prompts is empty; name what is to be seen, such as 'car, person'")
        if told["quality"] not in TURNS:
            raise ValueError(f"the parameter quality is {told['quality']!r}, expected {', '.join(TURNS)}")
        segmenter = Segmenter.load(told["run"] if told["run"] == "builtin" else Path(told["run"]))
        segmenter.set_prompts(prompts)
        check_classes(segmenter.prompts.classes, removed)
        scale = told["intensity_max"] or 1.0
        labelling = Labelling(segmenter, scale, told["axes"], None, told["abstain"], told["quality"])
        answers = Answers(segmenter.prompts.classes, removed, make_message)
        return cls(labelling, answers, bool(told["intensity_max"]), topic)

    def answer(self, message: Message) -> dict[str, Message]:
        """Label a cloud, and make its answers by their topics.

        Raises:
            ValueError: If it cannot be read.
        """
        if not self.scale_known:
            points = read_points(message, self.topic)
            if len(points.intensity):
                scale = intensity_max([Spread.of(points.intensity)])
                self.labelling, self.scale_known = replace(self.labelling, intensity_max=scale), True
        return self.answers.make_all(message, self.topic, self.labelling.label(message, self.topic))


def _as_usual(name: str, value: Any) -> Any:  # noqa: ANN401 - a parameter
    """Give a parameter the type that it has if left out."""
    kind = type(PARAMETERS[name])
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"the parameter {name} is {value!r}, expected a number") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the node until it is stopped."""
    import rclpy
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.executors import ExternalShutdownException
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    rclpy.init(args=arguments)
    node = rclpy.create_node("clip2scene")
    try:
        of_any_type, topic = ParameterDescriptor(dynamic_typing=True), node.resolve_topic_name(TOPIC)
        told = {
            name: node.declare_parameter(name, usual, of_any_type).value for name, usual in PARAMETERS.items()
        }
        answerer = Answerer.of(told, topic)
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        cloud, text = (type(make_message(kind)) for kind in (CLOUD, STRING))
        names = ("segmentation", "visualization", "filtered")[: 2 + bool(answerer.answers.removed)]
        publishers = {
            f"{topic}/{name}": node.create_publisher(cloud, f"{topic}/{name}", newest) for name in names
        }
        lasting = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        listed = make_message(STRING, data=json.dumps(answerer.answers.classes()))
        node.create_publisher(text, CLASSES, lasting).publish(listed)

        def receive(message: Message) -> None:
            try:
                for topic, made in answerer.answer(message).items():
                    publishers[topic].publish(made)
            except ValueError as error:
                node.get_logger().warning(f"a cloud was passed over: {error}")

        node.create_subscription(cloud, TOPIC, receive, newest)
        rclpy.spin(node)
    except ValueError as error:
        node.get_logger().error(str(error))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
