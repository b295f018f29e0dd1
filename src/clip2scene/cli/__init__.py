"""The command line: parse, call one function, print what was made and where."""

import os
import sys

import torch
import tyro

from clip2scene.cli.answers import embed_words, export_labels, export_lidarseg, segment
from clip2scene.cli.data import convert_pandaset, convert_recording, doctor, make_toytown
from clip2scene.cli.labels import finetune, label_efficiency, rank_scenes
from clip2scene.cli.learning import (
    ablate,
    demo,
    evaluate,
    evaluate_clip,
    evaluate_point_clip,
    look,
    pretrain,
    pretrain_clip,
)
from clip2scene.parallel import end_progress

COMMANDS = {
    "demo": demo,
    "make-toytown": make_toytown,
    "look": look,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "finetune": finetune,
    "label-efficiency": label_efficiency,
    "rank-scenes": rank_scenes,
    "evaluate-point-clip": evaluate_point_clip,
    "ablate": ablate,
    "segment": segment,
    "export-labels": export_labels,
    "embed-words": embed_words,
    "doctor": doctor,
    "pretrain-clip": pretrain_clip,
    "evaluate-clip": evaluate_clip,
    "convert-pandaset": convert_pandaset,
    "convert-recording": convert_recording,
    "export-lidarseg": export_lidarseg,
}

# Clouds have another number of points at every step, so most matrix products have shapes that never come
# back. For each shape, oneDNN and torch's bridge to it keep what they prepared, the last 1024 each: several
# GB. Both read their limits from the environment, when they first multiply; worker processes inherit them.
_CACHE_LIMITS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence, not in a traceback."""
    for name in _CACHE_LIMITS:
        os.environ.setdefault(name, "16")
    torch.set_float32_matmul_precision("medium")
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,  # type: ignore[arg-type]  # tyro asks for functions that return something
            prog="clip2scene",
            config=(tyro.conf.CascadeSubcommandArgs,),
        )
    except (ValueError, OSError) as error:
        end_progress()
        print(f"clip2scene: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        end_progress()
        print(
            "clip2scene: interrupted; the same command goes on with what it keeps; data sets begin anew",
            file=sys.stderr,
        )
        sys.exit(130)
