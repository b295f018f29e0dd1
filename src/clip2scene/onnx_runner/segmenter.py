"""Labels from an ONNX file: :class:`clip2scene.inference.segmenter.Segmenter` without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int64

from clip2scene.geometry.ground import Ground
from clip2scene.onnx_runner.about import About
from clip2scene.onnx_runner.cloud import average_within, prepare, read_points, turn_about_z
from clip2scene.onnx_runner.voxels import KNOWN, Voxels
from clip2scene.onnx_runner.words import choose

_MOST_BYTES = 1 << 31  # which protobuf allows


@dataclass(frozen=True)
class OnnxSegmentation:
    """The word that fits each point of a cloud best, and all scores.

    Attributes:
        names: The words, in the order they were given.
        labels: Index of the word with the highest score at each point; -1 where the background has a higher
            one, or the highest is below what was asked for.
        scores: Softmax over words and background at each point, 0..1; the background's are left out.
        embeddings: Every point in the text space; None unless wanted.
        raw_labels: The labels before superpoint means; None unless wanted.
    """

    names: tuple[str, ...]
    labels: Int64[np.ndarray, " points"]
    scores: Float32[np.ndarray, "points names"]
    embeddings: Float32[np.ndarray, "points channels"] | None = None
    raw_labels: Int64[np.ndarray, " points"] | None = None


class OnnxSegmenter:
    """A student in an ONNX file, ready to label clouds.

    Args:
        path: What ``clip2scene export-onnx`` wrote.
        threads: Of onnxruntime; by default as many as there are cores.

    Raises:
        ValueError: If onnxruntime is not there, or the file is missing, damaged or not of clip2scene.

    Example:
        >>> segmenter = OnnxSegmenter("student.onnx")  # doctest: +SKIP
        >>> segmenter.segment(points).labels  # doctest: +SKIP
    """

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        self._session, metadata = _open(Path(path), threads)
        self.about = About.read(metadata, str(path))
        self._choice = choose(self.about, self.about.prompts, self.about.background)
        self._inputs = [each.name for each in self._session.get_inputs() if each.name != "features"]
        unknown = [name for name in self._inputs if not KNOWN.fullmatch(name)]
        lacking = {"seen", "name_logits"} - {each.name for each in self._session.get_outputs()}
        if unknown or lacking:
            raise ValueError(
                f"the graph in {path} is not what clip2scene wrote (at {[*unknown, *lacking][0]!r}); export "
                "it again (clip2scene export-onnx RUN)"
            )

    @property
    def words(self) -> tuple[str, ...]:
        """The words that :meth:`set_prompts` takes."""
        return tuple(self.about.stands_for)

    def set_prompts(self, names: Sequence[str], *, background: str | Sequence[str] = "trained") -> None:
        """Choose the words that points are labelled with from now on.

        Args:
            names: At least one word that the file has, all different.
            background: What a point may be beside them: the trained classes that no word stands for
                ("trained"), nothing ("none"), or these words.

        Raises:
            ValueError: If there is no word, one is repeated, or the file does not have it.
        """
        self._choice = choose(self.about, names, background)

    def segment(
        self,
        cloud: Any,  # noqa: ANN401 - an array, or positions and features
        *,
        ground: Ground | None = None,
        abstain: float = 0.0,
        with_embeddings: bool = False,
        quality: Literal["low", "medium", "high"] = "medium",
        keep_raw: bool = False,
    ) -> OnnxSegmentation:
        """Label every point of a cloud.

        Args:
            cloud: An array of x, y, z and the features of each point (one channel of intensity, 0..1); or
                anything with ``positions`` and ``features``, such as a :class:`~clip2scene.types.PointCloud`.
                In metres, x forward, y left, z up.
            ground: The plane of the ground where it is known; it is estimated otherwise, where it is needed.
            abstain: Points whose best score is below this, 0..1, get no word.
            with_embeddings: Whether the points' embeddings are wanted too.
            quality: At how many turns the cloud is seen: one, those the run was made for, or six.
            keep_raw: Whether the labels before superpoint means are wanted too.

        Raises:
            ValueError: If the cloud is empty, holds numbers that are not finite, or has other features.
        """
        if quality not in self.about.turns:
            raise ValueError(f"quality is {', '.join(self.about.turns)}, got {quality!r}")
        positions, features = read_points(cloud, self.about.in_channels)
        seen, given = prepare(positions, features, self.about, ground)
        found = self._run(seen, given, self.about.turns[quality], with_embeddings)
        if not all(np.isfinite(each).all() for each in found.values()):
            raise ValueError(
                "the student's logits are not finite; its features should be in the unit that it was trained "
                "on, and the file whole: export it again"
            )
        raw = self._decide(found, abstain)[0] if keep_raw else None
        if self.about.superpoint_mean:
            from clip2scene.geometry.pieces import find_pieces  # SciPy's morphology and graphs

            x, y, z = self.about.viewpoint
            pieces = find_pieces(positions, viewpoint=(x, y, z))
            found = {name: average_within(pieces, each) for name, each in found.items()}
        labels, scores = self._decide(found, abstain)
        return OnnxSegmentation(self._choice.asked, labels, scores, found.get("embeddings"), raw)

    def _run(
        self,
        positions: Float32[np.ndarray, "points 3"],
        features: Float32[np.ndarray, "points inputs"],
        turns: Sequence[float],
        with_embeddings: bool,
    ) -> dict[str, np.ndarray]:
        """Run the network at each turn; the last run adds what the others saw, and compares."""
        from onnxruntime import RunOptions

        options = RunOptions()
        options.only_execute_path_to_fetches = True
        wanted = ["classifier_logits" if self._by_classifier else "name_logits"]
        wanted += ["embeddings"] if with_embeddings else []
        before: np.ndarray | None = None
        for number, degrees in enumerate(turns, 1):
            voxels = Voxels(
                turn_about_z(positions, degrees), self.about.voxel_size, at_corners=self.about.at_corners
            )
            feed = {"features": features, **dict(voxels.inputs(iter(self._inputs)))}
            if before is not None:
                feed["seen_before"] = before
            if number < len(turns):
                (before,) = self._call(["seen"], feed, options)
                continue
            feed |= {"chosen": self._choice.rows, "share": np.array(1 / len(turns), np.float32)}
            return dict(zip(wanted, self._call(wanted, feed, options), strict=True))
        raise AssertionError("there is a turn at least")

    def _call(self, wanted: list[str], feed: dict[str, np.ndarray], options: Any) -> list[np.ndarray]:  # noqa: ANN401
        """Run the graph; what onnxruntime says of one that was changed becomes a sentence."""
        try:
            return self._session.run(wanted, feed, options)
        except Exception as error:  # classes of its own
            what = str(error).splitlines()[0][:200]
            raise ValueError(f"onnxruntime cannot run the file ({what}); export it again") from None

    @property
    def _by_classifier(self) -> bool:
        return self._choice.trained and self.about.by_classifier

    def _decide(self, found: dict[str, np.ndarray], abstain: float) -> tuple[np.ndarray, np.ndarray]:
        """Choose each point's word, and give the scores of all."""
        logits = found["classifier_logits"] if self._by_classifier else found["name_logits"].max(2)
        scores = np.exp((logits - logits.max(1, keepdims=True)) / np.float32(self.about.temperature))
        scores /= scores.sum(1, keepdims=True)
        labels, count = scores.argmax(1), len(self._choice.asked)
        best = scores[np.arange(len(labels)), labels]
        return np.where((labels < count) & (best >= abstain), labels, -1), scores[:, :count]


def _open(path: Path, threads: int | None) -> tuple[Any, dict[str, str]]:
    """Open an ONNX file; it is given as bytes, so that it cannot name files beside it.

    Raises:
        ValueError: If onnxruntime is not there, or the file is missing, too large or damaged.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            "ONNX files are run by onnxruntime, which is not here; install it by pip install onnxruntime"
        ) from None
    if not path.is_file():
        raise ValueError(f"{path} is not a file; make one: clip2scene export-onnx RUN --out {path.name}")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is larger than 2 GiB, which no ONNX file is; export it again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own for each way to be damaged
        what = str(error).splitlines()[0][:200]
        raise ValueError(f"{path} is no whole ONNX file ({what}); copy it or export it again") from None
    return session, dict(session.get_modelmeta().custom_metadata_map)
