"""Label a cloud file with words of your own, and write it coloured.

    python examples/01_label_a_cloud.py RUN CLOUD OUT.ply "car, person, building"

RUN is a folder that ``clip2scene pretrain`` (or ``clip2scene demo``) wrote.
"""

import sys
from pathlib import Path

from clip2scene.datasets.clouds import read_cloud, write_ply
from clip2scene.inference.figures import word_palette
from clip2scene.inference.segmenter import Segmenter

run, cloud_path, out, words = sys.argv[1:]

segmenter = Segmenter.load(run)
segmenter.set_prompts(words.split(","))  # once; then segment as many clouds as you like
cloud = read_cloud(Path(cloud_path))
found = segmenter.segment(cloud)

write_ply(Path(out), cloud.positions, word_palette(len(found.names))[found.labels])
for number, name in [*enumerate(found.names), (-1, "none of these")]:
    share = (found.labels == number).float().mean()
    print(f"{name:20} {share:6.1%} of {len(cloud)} points")
