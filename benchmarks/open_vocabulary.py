"""Ask a run for words its teacher never had: each new word takes the place of a class's own names.

    python benchmarks/open_vocabulary.py RUN --data-root DATA --words "jeep:car, signboard:traffic sign"

RUN may be ``builtin``. Prints the IoU of that class when each class is asked for by its own names, when the
new word stands in the place of the class's names and is looked for by its own direction in the text space,
and when it is looked for by the names of the trained classes that it stands for
(``clip2scene.inference.background.by_trained_names``), as ``segment`` does. Points are all labelled ones.
"""

import argparse
from pathlib import Path

import torch

from clip2scene import build, build_teacher
from clip2scene.evaluation.metrics import Confusion
from clip2scene.inference.background import by_trained_names, only, together
from clip2scene.inference.predict import predict
from clip2scene.runs.run import open_run
from clip2scene.types import Prompts


def exchange(prompts: Prompts, number: int, placed: Prompts) -> Prompts:
    """Put what stands for one class in the place of that class."""
    count = len(prompts.classes)
    others = [each for each in range(count) if each != number]
    mixed = together(only(prompts, others), placed)
    return only(mixed, [*range(number), count - 1, *range(number, count - 1)])


def main() -> None:
    """Parse, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--words", required=True)
    args = parser.parse_args()
    torch.set_float32_matmul_precision("medium")
    run = open_run(args.run)
    space, student, mapping, trained = run.text_space(), run.student(), run.class_mapping, run.prompts
    pairs = [tuple(part.strip() for part in pair.split(":")) for pair in args.words.split(",")]
    asked = [trained]
    for word, class_name in pairs:
        number = trained.classes.index(class_name)
        plain = exchange(trained, number, build_teacher.place_words(run.recipe.teacher, space, [word]))
        asked += [plain, by_trained_names(plain, trained)]
    counted = [Confusion(len(mapping.classes)) for _ in asked]
    dataset = build.open_dataset(run.recipe.data, args.data_root, split=args.split, labels=True)
    for number in range(len(dataset.tokens)):
        sample = dataset[number]
        assert sample.labels is not None
        embeddings = predict(student, trained, sample.cloud, with_embeddings=True).embeddings
        assert embeddings is not None
        for prompts, confusion in zip(asked, counted, strict=True):
            confusion.update(mapping.translate(prompts.class_logits(embeddings).argmax(1)), sample.labels)
    ious = [100 * confusion.iou() for confusion in counted]
    print("| word, in the place of | IoU, own names | this word's direction | names it stands for |")
    print("|---|---:|---:|---:|")
    for (word, class_name), plain, by_names in zip(pairs, ious[1::2], ious[2::2], strict=True):
        number = mapping.classes.index(class_name)
        cells = " | ".join(f"{each[number]:.1f}" for each in (ious[0], plain, by_names))
        print(f"| {word}, of {class_name} | {cells} |")


if __name__ == "__main__":
    main()
