"""Which scenes of nuScenes are for training and which for judging.

Facts published with the data set. A scene's name is ``scene-`` and four digits.
"""

_VAL_RANGES = """
3 12-18 35-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-638 770-784 794-802 904-931 962-972
1059-1073
"""
# 150 scenes; the numbers inside a range that are not scenes of the official validation split are no scenes at
# all.

_VERIFY = """
0008 0009 0019 0029 0032 0042 0045 0049 0052 0054 0056 0066 0067 0073 0131 0152 0166 0168 0183 0190
0194 0208 0210 0211 0241 0243 0248 0259 0260 0261 0287 0292 0297 0305 0306 0350 0352 0358 0361 0365
0368 0377 0388 0391 0395 0413 0427 0428 0438 0444 0452 0453 0459 0463 0464 0475 0513 0533 0544 0575
0587 0589 0642 0652 0658 0669 0678 0687 0701 0703 0706 0710 0715 0726 0735 0740 0758 0786 0790 0804
0806 0847 0856 0868 0882 0897 0899 0976 0996 1012 1015 1016 1018 1020 1024 1044 1058 1094 1098 1107
"""
# The 100 training scenes that SLidR and CLIP2Scene tune on.

_MINI_TRAIN = "0061 0553 0655 0757 0796 1077 1094 1100"
_MINI_VAL = "0103 0916"

SPLITS = ("train", "val", "parametrize", "verify")
"""Official train and val; and train parted in two, 600 scenes to learn from and 100 to choose settings by."""


def official_scenes(split: str, version: str, present: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the scenes of a split.

    Args:
        split: One of :data:`SPLITS`; ``mini`` data know only ``train`` and ``val``.
        version: The tables' folder name, which ends in ``mini`` or ``trainval``.
        present: Names of all scenes in the tables.

    Returns:
        Those of ``present`` that belong to the split, in their order.

    Raises:
        ValueError: If the split or version has no official list.
    """
    if version.endswith("mini"):
        splits = {"train": _names(_MINI_TRAIN), "val": _names(_MINI_VAL)}
    elif version.endswith("trainval"):
        val, verify = _names(_VAL_RANGES), _names(_VERIFY)
        train = set(present) - val
        splits = {"train": train, "val": val, "parametrize": train - verify, "verify": verify}
    else:
        raise ValueError(f"no official splits are known for version {version!r}; name the scenes")
    if split not in splits:
        raise ValueError(f"unknown split {split!r} of {version}, expected one of {', '.join(splits)}")
    return tuple(name for name in present if name in splits[split])


def _names(numbers: str) -> set[str]:
    """Expand numbers and ranges of numbers to scene names."""
    names: set[str] = set()
    for part in numbers.split():
        first, _, last = part.partition("-")
        names.update(f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
    return names
