"""The run of the first round: what a second one takes its pseudo-labels from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip2scene.build import Experiment
from clip2scene.io import fingerprint
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.run import Run, open_run, require_same_supervision


@dataclass(frozen=True)
class FirstRound:
    """A run that was trained without labels to its end.

    Attributes:
        run: The run.
        sha256: Of its weights.
    """

    run: Run
    sha256: str

    def about(self) -> dict[str, Any]:
        """Say where it lies, and which weights it has, as plain values."""
        return {"origin": str(self.run.folder.resolve()), "sha256": self.sha256}

    def check(self, experiment: Experiment) -> None:
        """Refuse a run whose predictions are no pseudo-labels for what is to be trained.

        Raises:
            ValueError: If there are no classes to train on, or the run is of other classes or data; or if its
                teacher saw labels of images and it is not said so of what is trained.
        """
        folder, theirs, recipe = self.run.folder, self.run.recipe, experiment.recipe
        if recipe.supervision == "labels":
            raise ValueError(
                f"--second-round makes pseudo-labels, and {recipe.name} is trained on labels; leave it out, "
                "or name a recipe without labels"
            )
        if not recipe.loss.over_classes:
            raise ValueError(
                f"--second-round teaches classes, and --loss.form {recipe.loss.form} has none; expected "
                "point-cross-entropy or class-infonce"
            )
        classes, wanted = self.run.prompts.classes, experiment.prompts.classes
        if classes != wanted:
            raise ValueError(
                f"{folder} knows the classes {', '.join(classes)}, expected {', '.join(wanted)}; name a run "
                "of these classes as --second-round"
            )
        root = str(experiment.data_root.resolve())
        if self.run.sources.data_root != root:
            raise ValueError(
                f"{folder} was trained on other data ({self.run.sources.data_root or 'not known'}), expected "
                f"{root}; name a run that was trained there as --second-round; if they were moved, correct "
                "data_root in its sources.json"
            )
        if theirs.data.merge_sweeps != recipe.data.merge_sweeps:
            merged = "--data.merge-sweeps" if theirs.data.merge_sweeps else "--data.no-merge-sweeps"
            raise ValueError(f"{folder} was trained with {merged}, on clouds of another kind; set the same")
        require_same_supervision(self.run, recipe, "--second-round")


def first_round_of(folder: Path) -> FirstRound:
    """Open the run of the first round.

    Raises:
        ValueError: If it is no run, was trained on labels, or not to its end.
    """
    run = open_run(folder)
    if run.recipe.supervision == "labels":
        raise ValueError(
            f"{folder} was trained on labels, so what is trained on its predictions is not label-free; name "
            "a label-free run as --second-round"
        )
    if not run.checkpoint_path.exists():
        raise ValueError(f"{folder} has no weights yet; train it to its end, then name it as --second-round")
    step = load_checkpoint(run.checkpoint_path).step
    if step < run.recipe.steps:
        raise ValueError(
            f"{folder} has taken {step} of its {run.recipe.steps} steps; train it to its end, then name it "
            "as --second-round"
        )
    return FirstRound(run, fingerprint(run.student().state_dict()))
