"""What was looked at and not corrected: beside labels by hand, a run's own answers are trained on.

People correct what is wrong. Trained on that alone, a student forgets what was right: it only ever sees
classes where it used to miss them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from clip2scene import build
from clip2scene.classes.mapping import ClassMapping
from clip2scene.config import DataConfig
from clip2scene.distill.lift import gather_sweeps
from clip2scene.inference.predict import predict
from clip2scene.io import fingerprint
from clip2scene.runs.run import Run
from clip2scene.student.model import Embedder
from clip2scene.types import Sample


@dataclass(frozen=True)
class StartAnswers:
    """The class that a run gives each point of a sample, as those saw who corrected it.

    Attributes:
        run: What the labels by hand correct.
        data: The data that are labelled; the run's classes are mapped to theirs.
        data_root: Where these lie.
    """

    run: Run
    data: DataConfig
    data_root: Path

    @cached_property
    def fingerprint(self) -> str:
        """Hash what decides the answers: the weights, the prompts, the classes."""
        prompts = self.run.prompts
        names = "\n".join(prompts.classes)
        embeddings = {f"prompts of {names}": prompts.embeddings, "class of name": prompts.class_of_name}
        return fingerprint({**self._student.state_dict(), **embeddings})

    @cached_property
    def _student(self) -> Embedder:
        return self.run.student()

    @cached_property
    def _mapping(self) -> ClassMapping:
        return self.run.mapping_to(build.evaluation_classes(self.data, self.data_root))

    def __call__(self, sample: Sample) -> Int[Tensor, " points"]:
        """Give the train id of each point of the keyframe.

        Raises:
            ValueError: If logits are not finite, or it is not known what the run's classes are among the
                data's.
        """
        data = self.run.recipe.data
        cloud, *_ = gather_sweeps(sample, build.viewpoint_of(data), build.pairing_options(data))
        try:
            logits = predict(self._student, self.run.prompts, cloud).logits
        except ValueError as error:
            raise ValueError(f"sample {sample.token}: {error}") from None
        return self._mapping.translate(logits[: len(sample.cloud)].argmax(1))
