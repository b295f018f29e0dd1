"""The command line: parse, call one function, print what was made and where."""

import sys

import torch
import tyro

from clip2scene.cli.answers import embed_words, export_labels, export_lidarseg, segment
from clip2scene.cli.data import convert_pandaset, convert_recording, doctor, make_toytown
from clip2scene.cli.learning import (
    ablate,
    demo,
    evaluate,
    evaluate_clip,
    evaluate_point_clip,
    finetune,
    label_efficiency,
    look,
    pretrain,
    pretrain_clip,
    rank_scenes,
)

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


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence, not in a traceback."""
    torch.set_float32_matmul_precision("medium")
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,  # type: ignore[arg-type]  # tyro asks for functions that return something
            prog="clip2scene",
            config=(tyro.conf.CascadeSubcommandArgs,),
        )
    except (ValueError, OSError) as error:
        print(f"clip2scene: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "clip2scene: interrupted; the same command goes on with what it keeps; data sets begin anew",
            file=sys.stderr,
        )
        sys.exit(130)
