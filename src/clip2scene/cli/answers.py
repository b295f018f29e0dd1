"""Commands that use a trained run."""

from pathlib import Path

import tyro


def segment(
    run: tyro.conf.Positional[Path],
    clouds: tyro.conf.Positional[tuple[Path, ...]],
    *,
    prompts: str,
    out: Path,
    words: Path | None = None,
) -> None:
    """Label clouds with any words.

    Args:
        run: Folder of the run.
        clouds: Files: .bin (KITTI, nuScenes), .npy, .npz, .ply, .pcd, .las or .laz.
        prompts: Words or phrases, separated by commas.
        out: Folder for the labels, coloured clouds and pictures.
        words: Table of text embeddings (see embed-words) to take the prompts from. Without it, the text
            encoder that the run was taught with.
    """
    from clip2scene.inference.segment import segment_files

    for path in segment_files(run, clouds, prompts.split(","), out, words=words):
        print(f"wrote {path}")


def export_labels(
    run: tyro.conf.Positional[Path], *, data_root: Path, out: Path, split: str = "test"
) -> None:
    """Write a run's answers as label files for SemanticKITTI's benchmark.

    Args:
        run: Folder of a run on data in SemanticKITTI's layout.
        data_root: The data set; neither its labels nor its images are read.
        out: Folder for sequences/XX/predictions/NNNNNN.label. An interrupted export in it is resumed.
        split: Which split to answer for.
    """
    from clip2scene.inference.export_kitti import export_labels as run_export

    paths = run_export(run, data_root=data_root, split=split, out=out)
    print(f"wrote {len(paths)} label files to {out / 'sequences'}")


def export_lidarseg(
    run: tyro.conf.Positional[Path],
    *,
    data_root: Path,
    out: Path,
    split: str = "test",
    use_external: bool = True,
) -> None:
    """Label a split as nuScenes' lidar segmentation challenge wants it submitted.

    Args:
        run: Folder of the run.
        data_root: The data set, in nuScenes' layout.
        out: Folder for the submission; an unfinished one in it is taken up.
        split: Which split; the challenge judges test.
        use_external: Whether to declare that data from elsewhere were used, as the teacher's model's are.
    """
    from clip2scene.inference.export_lidarseg import export_lidarseg as run_export

    counts = run_export(run, data_root=data_root, split=split, out=out, use_external=use_external)
    print(f"labelled {counts.sum()} points: submit {out / 'lidarseg'} and {out / split} in one zip file")


def embed_words(
    words: tyro.conf.Positional[str],
    *,
    out: Path,
    teacher_weights: str | None = None,
    run: Path | None = None,
) -> None:
    """Make a table of text embeddings, so that words can be carried without a text encoder.

    Args:
        words: Words or phrases, separated by commas; or a .txt file of them, one a line.
        out: The table, a .safetensors file.
        teacher_weights: Folder or hub id of a CLIP or SigLIP model, or a .pt file of OpenAI's. Without it,
            the small model in the package.
        run: A run, whose model and sentences to use instead.
    """
    from clip2scene.inference.text_embeddings import embed_words as run_embed_words
    from clip2scene.inference.text_embeddings import read_words

    if out.suffix != ".safetensors":
        raise ValueError(f"{out} must end in .safetensors; rename it")
    table = run_embed_words(read_words(words), teacher_weights=teacher_weights, run=run)
    table.save(out)
    print(f"wrote {len(table.names)} words of {table.vectors.shape[1]} channels to {out}")
