"""Ask a run for words its teacher never had: each new word takes the place of a class's own names.

    python benchmarks/open_text_table.py RUN --data-root DATA --words "jeep:car, signboard:traffic sign"

Prints the IoU of that class when it is asked for by its own name, and by the new word.
"""

import argparse
from pathlib import Path

import torch

from clip2scene import build_teacher
from clip2scene.distill.lifted import load_lifted
from clip2scene.evaluation.metrics import Confusion
from clip2scene.inference.predict import predict
from clip2scene.runs.reopen import lift_run, reopen
from clip2scene.runs.run import open_run
from clip2scene.types import Prompts


def replace_names(prompts: Prompts, class_name: str, embedding: torch.Tensor, word: str) -> Prompts:
    """Let ``word`` alone stand for a class."""
    number = prompts.classes.index(class_name)
    kept = prompts.class_of_name != number
    names = [name for name, keep in zip(prompts.names, kept.tolist(), strict=True) if keep]
    return Prompts(
        prompts.classes,
        (*names, word),
        torch.cat([prompts.class_of_name[kept], torch.tensor([number])]),
        torch.cat([prompts.embeddings[kept], embedding]),
    )


def main() -> None:
    """Parse, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--words", required=True)
    args = parser.parse_args()
    run = open_run(args.run)
    space, student = run.text_space(), run.student()
    asked = [("", "", run.prompts)]
    for pair in args.words.split(","):
        word, class_name = (part.strip() for part in pair.split(":"))
        placed = build_teacher.place_words(run.recipe.teacher, space, [word])
        asked.append((word, class_name, replace_names(run.prompts, class_name, placed.embeddings, word)))
    confusions = [Confusion(len(run.prompts.classes)) for _ in asked]
    for path in lift_run(run, reopen(run, args.data_root, split=args.split, labels=True)):
        sample = load_lifted(path)
        assert sample.labels is not None
        embeddings = predict(student, run.prompts, sample.cloud, with_embeddings=True).embeddings
        assert embeddings is not None
        for (_, _, prompts), confusion in zip(asked, confusions, strict=True):
            confusion.update(prompts.class_logits(embeddings).argmax(1), sample.labels)
    own = confusions[0].iou()
    print(f"{'word':16} {'stands for':16} {'IoU, own name':>14} {'IoU, this word':>15}")
    for (word, class_name, prompts), confusion in zip(asked[1:], confusions[1:], strict=True):
        number = prompts.classes.index(class_name)
        print(f"{word:16} {class_name:16} {100 * own[number]:14.1f} {100 * confusion.iou()[number]:15.1f}")


if __name__ == "__main__":
    main()
