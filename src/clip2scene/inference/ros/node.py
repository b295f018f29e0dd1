r"""A node of ROS 2 that answers each cloud as it comes.

Where ROS 2 is installed beside this package::

    python -m clip2scene.inference.ros.node --ros-args -r points:=/lidar/points \
        -p run:=builtin -p "prompts:='car, person, road'" -p "remove:='car, person'"

It listens to ``points`` and publishes ``points/segmentation``, ``points/visualization`` and, with ``remove``,
``points/filtered`` (:mod:`clip2scene.inference.ros.answers`). While it is busy, only the newest cloud waits.
``rclpy`` is imported in :func:`main` alone. It was tested with recorded messages and a stand-in for it, never
on a robot.
"""

import importlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clip2scene.datasets.clouds import Spread, intensity_max
from clip2scene.datasets.convert.ros_bag import CLOUD, Message
from clip2scene.datasets.convert.ros_messages import read_points
from clip2scene.inference.predict import check_abstain
from clip2scene.inference.ros.answers import Answers, Labelling, check_removed
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
    """

    labelling: Labelling
    answers: Answers
    scale_known: bool

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Answerer":
        """Open what the parameters name.

        Raises:
            ValueError: If one is unfit.
        """
        prompts, removed = (read_words(told[name]) if told[name] else () for name in ("prompts", "remove"))
        if not prompts:
            raise ValueError("the parameter prompts is empty; name what is to be seen, such as 'car, person'")
        check_abstain(told["abstain"])
        segmenter = Segmenter.load(told["run"] if told["run"] == "builtin" else Path(told["run"]))
        segmenter.set_prompts(prompts)
        check_removed(removed, segmenter.prompts.classes)
        scale = told["intensity_max"] or 1.0
        labelling = Labelling(segmenter, scale, told["axes"], None, told["abstain"], told["quality"])
        answers = Answers(segmenter.prompts.classes, removed, make_message)
        return cls(labelling, answers, bool(told["intensity_max"]))

    def answer(self, message: Message) -> dict[str, Message]:
        """Label a cloud, and make its answers by their topics.

        Raises:
            ValueError: If it cannot be read.
        """
        if not self.scale_known:
            points = read_points(message, TOPIC)
            if len(points.intensity):
                scale = intensity_max([Spread.of(points.intensity)])
                self.labelling, self.scale_known = replace(self.labelling, intensity_max=scale), True
        return self.answers.make_all(message, TOPIC, self.labelling.label(message, TOPIC))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the node until it is stopped."""
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    rclpy.init(args=arguments)
    node = rclpy.create_node("clip2scene")
    told = {name: node.declare_parameter(name, usual).value for name, usual in PARAMETERS.items()}
    try:
        answerer = Answerer.of(told)
        profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        topics = [f"{TOPIC}/segmentation", f"{TOPIC}/visualization", f"{TOPIC}/filtered"][
            : 2 + bool(told["remove"])
        ]
        kind = type(make_message(CLOUD))
        publishers = {topic: node.create_publisher(kind, topic, profile) for topic in topics}

        def receive(message: Message) -> None:
            try:
                for topic, made in answerer.answer(message).items():
                    publishers[topic].publish(made)
            except ValueError as error:
                node.get_logger().warning(f"a cloud was passed over: {error}")

        node.create_subscription(kind, TOPIC, receive, profile)
        rclpy.spin(node)
    except ValueError as error:
        node.get_logger().error(str(error))
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
