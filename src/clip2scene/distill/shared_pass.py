"""The forward pass of a batch, shared out among the ranks that train together."""

from jaxtyping import Float
from torch import Tensor

from clip2scene.distill.batch import Batch
from clip2scene.ranks import gather_rows, here
from clip2scene.student.model import Embedder


def backbone_features(network: Embedder, batch: Batch) -> Float[Tensor, "points hidden"]:
    """Give the backbone's features of each point of a batch.

    Of several ranks, each computes those of its part of the samples (the first rank of the first samples, and
    so on) and takes the others' from them. So every loss is one over the whole batch, negatives included.

    Args:
        network: The same on all ranks.
        batch: The same on all ranks; as many samples for each.
    """
    ranks = here()
    if ranks.size == 1:
        return network(batch.positions, batch.features, batch.item_of_point)
    each = len(batch.sample_sizes) // ranks.size
    sizes = [sum(batch.sample_sizes[start : start + each]) for start in range(0, each * ranks.size, each)]
    positions, features, items = (
        every.split(sizes)[ranks.rank] for every in (batch.positions, batch.features, batch.item_of_point)
    )
    return gather_rows(network(positions, features, items - items[:1]), sizes, ranks)
