"""Ablation variants: what is left out or put in, one thing at a time, on any recipe.

Published values are those of the paper's Table 3: nuScenes val, mIoU in percent, no label, one run each.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from clip2scene.config import AugmentConfig, ConsistencyConfig, LossConfig, Recipe, SelfTrainingConfig
from clip2scene.experiments.ablation import AblationTable, Variant

PAPER = "nuscenes"
"""The data set that published values stand for."""


def plain(recipe: Recipe) -> Recipe:
    """Take away what we added to the paper, and what the paper added to semantic consistency.

    What is left is the paper's "Baseline": one sweep, text-anchored semantic consistency alone. Network,
    schedule, teacher's scales, and whether the network is given heights or quantiles of the intensity, stay
    the recipe's own.
    """
    balance = recipe.loss.class_balance if recipe.loss.form == "point-cross-entropy" else 0.0
    as_read: dict[str, Any] = {"attention": "maskclip", "proxy": None, "refine": "none", "consolidate": False}
    return replace(
        recipe,
        data=replace(recipe.data, sweeps=1, merge_sweeps=False, words="own"),
        teacher=replace(recipe.teacher, superpoint_vote=False, window=None, window_overlap=0.5, **as_read),
        student=replace(recipe.student, superpoint_mean=False, level=False, turns=(0.0,)),
        augment=AugmentConfig(recipe.augment.rotate, recipe.augment.flip, recipe.augment.scale),
        loss=replace(LossConfig(), class_balance=balance),
        consistency=ConsistencyConfig(),
        self_training=SelfTrainingConfig(),
    )


def full(recipe: Recipe) -> Recipe:
    """Give a recipe every ingredient of the paper: StCR over three sweeps, S3 from the middle on."""
    return replace(
        plain(recipe),
        data=replace(plain(recipe).data, sweeps=3),
        consistency=ConsistencyConfig(weight=1.0),
        self_training=SelfTrainingConfig(probability=0.5),
    )


def _change(recipe: Recipe, **changes: dict[str, Any]) -> Recipe:
    """Change settings inside parts of a recipe: ``_change(recipe, data={"sweeps": 5})``."""
    parts = {name: replace(getattr(recipe, name), **values) for name, values in changes.items()}
    return replace(recipe, **parts)


def _variant(name: str, recipe: Recipe, published: float | None = None, note: str = "") -> Variant:
    return Variant(
        name, replace(recipe, name=name), {PAPER: published} if published is not None else None, note
    )


def paper_table(recipe: Recipe) -> AblationTable:
    """Rows of the paper's Table 3 with its mIoU in percent: regularisation, training strategy, sweeps."""
    base, whole = plain(recipe), full(recipe)
    eq1 = {"form": "class-infonce", "class_balance": 0.0, "cosine": True, "cosine_temperature": 0.1}
    variants = (
        _variant("baseline", base, 15.1, "one sweep, SCR alone, in the released code's form"),
        _variant("full", whole, 20.8, "SCR, StCR over 3 sweeps, S3"),
        _variant("without StCR", _change(whole, consistency={"weight": 0.0}), 19.8),
        _variant(
            "without SCR",
            _change(whole, loss={"weight": 0.0}, self_training={"probability": 0.0}),
            None,
            "StCR alone, with a guard that leaves the embeddings' offset untrained: no prompt can fit; "
            "the paper's 16.8 has no guard",
        ),
        _variant(
            "KL in place of both", _change(base, loss={"form": "kl-divergence", "class_balance": 0.0}), 0.0
        ),
        _variant(
            "SCR as Eq. 1", _change(base, loss=eq1), None, "unit embeddings; plain dot products diverge"
        ),
        _variant("StCR as released", _change(whole, consistency={"form": "released-code"}), None),
        _variant("without S3", _change(whole, self_training={"probability": 0.0}), 18.8),
        _variant(
            "ST",
            _change(whole, self_training={"probability": 1.0}),
            10.1,
            "its own predictions alone after the middle",
        ),
        _variant("1 sweep", _change(whole, data={"sweeps": 1}), 18.7),
        _variant("5 sweeps", _change(whole, data={"sweeps": 5}), 20.6),
        _variant("3 sweeps merged", _change(whole, data={"merge_sweeps": True}), 18.6),
        _variant("without the moved test", _change(whole, data={"moved_test": False})),
    )
    return AblationTable("paper", "The paper's ingredients", "baseline", variants)


def self_training_table(recipe: Recipe) -> AblationTable:
    """Ways of self-training, on the student's own predictions, on the baseline."""
    base = plain(recipe)

    def with_own(**settings: Any) -> Recipe:  # noqa: ANN401
        return _change(base, self_training={"probability": 0.5, **settings})

    variants = (
        _variant("baseline", base),
        _variant("S3 by step", with_own()),
        _variant("S3 by point", with_own(switch="point")),
        _variant("S3, running mean", with_own(switch="point", source="average")),
        _variant("S3, mean, sure ones", with_own(switch="point", source="average", confidence=0.7)),
        _variant("S3, mean, unseen points", with_own(switch="point", source="average", unseen=True)),
    )
    return AblationTable("self-training", "Switchable self-training", "baseline", variants)


def words_table(recipe: Recipe) -> AblationTable:
    """Prompts of other data sets' classes, on the baseline (evaluated in the data's own classes); percent."""
    base = plain(recipe)
    variants = (
        _variant("own words", base),
        _variant("nuScenes' words", _change(base, data={"words": "nuscenes"}), 15.1),
        _variant("SemanticKITTI's words", _change(base, data={"words": "semantic-kitti"}), 13.9),
        _variant("Cityscapes' words", _change(base, data={"words": "cityscapes"}), 11.3),
        _variant("all words", _change(base, data={"words": "all"}), 15.3),
    )
    return AblationTable("words", "Prompts", "own words", variants)


def contrasting(recipe: Recipe, form: str, backbone: str | None = None) -> Recipe:
    """Give a recipe a rival's loss: InfoNCE with the teacher's pseudo-labels, or with its image tower."""
    return _change(plain(recipe), loss={"form": form, "class_balance": 0.0, "backbone": backbone})


def rivals_table(recipe: Recipe) -> AblationTable:
    """Losses of other papers (InfoNCE over pixels or superpixels), same teacher, pairs and network."""
    base, rival = plain(recipe), partial(contrasting, recipe)
    beside = "features before the teacher's pooling; the text head is trained behind a stop-gradient"
    variants = (
        _variant("baseline", base, None, "SCR"),
        _variant("full", full(recipe), None, "SCR, StCR, S3, 3 sweeps"),
        _variant("PPKT", rival("pixel-infonce"), None, "pixel-point InfoNCE, 4096 pairs"),
        _variant("SLidR", rival("superpixel-infonce"), None, "superpixel-driven InfoNCE"),
        _variant("PPKT, image tower", rival("pixel-infonce", "own"), None, beside),
        _variant("SLidR, image tower", rival("superpixel-infonce", "own"), None, beside),
    )
    return AblationTable("rivals", "Rivals", "baseline", variants)


def additions_table(recipe: Recipe) -> AblationTable:
    """What we add to the paper, taken away one at a time; and losses from elsewhere, put in."""
    variants = (
        _variant("recipe", recipe),
        _variant("without the vote", _change(recipe, teacher={"superpoint_vote": False})),
        _variant("without windows", _change(recipe, teacher={"window": None})),
        _variant("without like cells", _change(recipe, teacher={"attention": "maskclip"})),
        _variant("without refinement", _change(recipe, teacher={"refine": "none"})),
        _variant("without consolidation", _change(recipe, teacher={"consolidate": False})),
        _variant("without settling", _change(recipe, student={"superpoint_mean": False})),
        _variant("without height", _change(recipe, student={"height": "none"})),
        _variant("without levelling", _change(recipe, student={"level": False})),
        _variant("as it stands alone", _change(recipe, student={"turns": (0.0,)}), None, "no other yaws"),
        _variant("without other scenes", _change(recipe, augment={"mix": "none"}), None, "no mixing"),
        _variant("all rings", _change(recipe, augment={"thin_rings": 0.0})),
        _variant("always intensity", _change(recipe, augment={"drop_intensity": 0.0})),
        _variant("without balance", _change(recipe, loss={"class_balance": 0.0})),
        _variant("one scale", _change(recipe, teacher={"scales": (1.0,)})),
        _variant("generalised, q 0.3", _change(recipe, loss={"generalised": 0.3}), None, "put in"),
        _variant("generalised, q 0.7", _change(recipe, loss={"generalised": 0.7}), None, "put in"),
        _variant("symmetric, 0.1", _change(recipe, loss={"reverse": 0.1}), None, "put in"),
        _variant("symmetric, 1", _change(recipe, loss={"reverse": 1.0}), None, "put in"),
        _variant("feature similarity", _change(recipe, loss={"similarity": 1.0}), None, "put in"),
    )
    return AblationTable("additions", "Our additions", "recipe", variants)


def on_top_table(recipe: Recipe) -> AblationTable:
    """The paper's ingredients on the recipe as it is otherwise."""
    base = replace(recipe, consistency=ConsistencyConfig(), self_training=SelfTrainingConfig())
    base = _change(base, data={"sweeps": 1, "merge_sweeps": False})
    consistent, three = {"weight": 1.0}, _change(base, data={"sweeps": 3})
    mean = {"probability": 0.5, "switch": "point", "source": "average"}
    variants = (
        _variant("none of them", base),
        _variant("StCR", _change(base, consistency=consistent)),
        _variant("3 sweeps", three),
        _variant("StCR, 3 sweeps", _change(three, consistency=consistent)),
        _variant("S3", _change(base, self_training={"probability": 0.5})),
        _variant("S3, running mean", _change(base, self_training=mean)),
    )
    return AblationTable("on-top", "The paper's ingredients on our recipe", "none of them", variants)


TABLES: dict[str, Callable[[Recipe], AblationTable]] = {
    "paper": paper_table,
    "self-training": self_training_table,
    "words": words_table,
    "rivals": rivals_table,
    "additions": additions_table,
    "on-top": on_top_table,
}
"""Tables by name; each is made of a base recipe."""
