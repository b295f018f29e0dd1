"""Where a run comes from: its teacher, its data, what it began with."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from clip2scene.io import write_json
from clip2scene.runs.run_files import read_run_json


@dataclass(frozen=True)
class Sources:
    """Teacher and data of a run, as ``sources.json`` holds them.

    Attributes:
        teacher_weights: The image-text model or table of text embeddings; None is the model in the package.
        data_root: The data set's folder.
        num_samples: Of its train split.
        in_channels: Channels that the sensor measures at each point beside its position.
        teacher_hash: Of the model's files, or of the table that the run keeps.
        text_space: Fingerprint of the text space; empty if not known.
        pixel_channels: Channels of the image backbone in a rival's InfoNCE, if there is one.
        backbone_hash: Of that backbone's files; empty if they are the teacher's.
        proxy: Folder of the second model of a ProxyCLIP teacher; None if there is none.
        proxy_hash: Of its files.
        also: Folders of the runs whose teachers label the points too.
        init: What the run began with; None from chance. ``start`` in the file.
        second_round: The run whose student made its pseudo-labels; None if the teacher did.
        versions: Of the software.
        inputs: Hash of names, sizes and times of the data's files, as they were; empty if not known.
        seal: Says that this user's runs may open ``teacher_weights``, ``proxy`` and ``also`` (see
            :mod:`clip2scene.runs.trust`).
    """

    teacher_weights: str | None
    data_root: str
    num_samples: int
    in_channels: int
    teacher_hash: str
    text_space: str = ""
    pixel_channels: int | None = None
    backbone_hash: str = ""
    proxy: str | None = None
    proxy_hash: str = ""
    also: tuple[str, ...] = ()
    init: dict[str, Any] | None = None
    second_round: dict[str, Any] | None = None
    versions: dict[str, Any] = field(default_factory=dict)
    inputs: str = ""
    seal: str = ""

    @property
    def models_elsewhere(self) -> tuple[str, ...]:
        """The models, and other runs, outside of the run's folder that its teacher is made of."""
        return tuple(each for each in (self.teacher_weights, self.proxy, *self.also) if each is not None)

    @property
    def began_with_words(self) -> bool:
        """Whether the weights it began with had a text head that was trained."""
        return bool(self.init and self.init["knows_words"])

    def write(self, folder: Path) -> None:
        """Write them into a run's folder; what is not there is left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        values["teacher_weights"] = self.teacher_weights
        if not self.seal:
            del values["seal"]
        if self.pixel_channels is None:
            del values["backbone_hash"]
        if self.proxy is None:
            del values["proxy_hash"]
        if not self.also:
            del values["also"]
        if self.init is not None:
            values["start"] = values.pop("init")
        write_json(folder / "sources.json", values)

    @classmethod
    def read(cls, folder: Path) -> "Sources":
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: If the file is missing or damaged, or lacks something.
        """
        found = read_run_json(folder / "sources.json")
        known = {each.name for each in fields(cls)}
        values = {("init" if name == "start" else name): value for name, value in found.items()}
        values["also"] = tuple(values.get("also", ()))
        return cls(**{name: value for name, value in values.items() if name in known})
