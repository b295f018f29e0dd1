"""Which scenes of nuScenes are for training and which for evaluation.

Facts published with the data set. A scene's name is ``scene-`` and four digits.
"""

import logging

_TRAIN = """
1-2 4-11 19-34 41-76 120-135 138-139 149-152 154-155 157-168 170-185 187-188 190-196 199-200 202-204 206-214
218-220 222 224-264 283-306 315-318 321 323-324 328 347-386 388-403 405-408 410-459 461-465 467-469 471-472
474-480 499-502 504-515 517-518 525-539 541-546 566 568 570-578 580 582-600 639-679 681 683-689 695-698
700-701 703-719 726-728 730-731 733-741 744 746-747 749-752 757-765 767-769 786-787 789-792 803-806 808-813
815-817 819-822 847-856 858 860-866 868-873 875-878 880 882-903 945 947 949 952-953 955-961 975-984 988-992
994-1025 1044-1058 1074-1102 1104-1110
"""
# 700 scenes.

_VAL = """
3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771 775
777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073
"""
# 150 scenes.

_TEST = """
77-91 111-119 140 142-148 265-266 279-282 307-314 333-343 481-498 547-551 601-604 606-624 827-831 833-842
844-846 932-933 935-943 1026-1043
"""
# 150 scenes, without public labels.

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

SPLITS = {
    "v1.0-trainval": ("train", "val", "parametrize", "verify"),
    "v1.0-test": ("test",),
    "v1.0-mini": ("mini_train", "mini_val"),
}
"""Splits by version: the official ones; and train parted in two, 600 scenes to train on and 100 to choose
settings by. The mini set's are also called train and val."""


_log = logging.getLogger(__name__)


def official_scenes(split: str, version: str, present: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the scenes of a split; how many of the official ones are absent is logged.

    Args:
        split: One of :data:`SPLITS` of that version; of mini also ``train`` and ``val``.
        version: The tables' folder name, which ends in ``mini``, ``trainval`` or ``test``.
        present: Names of all scenes in the tables.

    Returns:
        Those of ``present`` that belong to the split, in their order.

    Raises:
        ValueError: If the split or version has no official list.
    """
    if version.endswith("mini"):
        splits = {"mini_train": _names(_MINI_TRAIN), "mini_val": _names(_MINI_VAL)}
        splits |= {"train": splits["mini_train"], "val": splits["mini_val"]}
    elif version.endswith("trainval"):
        train, verify = _names(_TRAIN), _names(_VERIFY)
        splits = {"train": train, "val": _names(_VAL), "parametrize": train - verify, "verify": verify}
    elif version.endswith("test"):
        splits = {"test": _names(_TEST)}
    else:
        raise ValueError(f"no official splits are known for version {version!r}; name the scenes")
    if split not in splits:
        raise ValueError(f"unknown split {split!r} of {version}, expected one of {', '.join(splits)}")
    absent = sorted(splits[split].difference(present))
    if absent:
        _log.warning(
            "%d of the %d scenes of split %s are not in %s, the first is %s",
            *(len(absent), len(splits[split]), split, version, absent[0]),
        )
    return tuple(name for name in present if name in splits[split])


def usual_version(split: str | None) -> str:
    """Return the version that an official split belongs to; empty for any other.

    Example:
        >>> usual_version("test"), usual_version("mini_val"), usual_version("my own")
        ('v1.0-test', 'v1.0-mini', '')
    """
    return next((version for version, splits in SPLITS.items() if split in splits), "")


def _names(numbers: str) -> set[str]:
    """Expand numbers and ranges of numbers to scene names."""
    names: set[str] = set()
    for part in numbers.split():
        first, _, last = part.partition("-")
        names.update(f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
    return names
