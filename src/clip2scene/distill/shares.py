"""How often the samples of each of several sources are drawn.

A place is a number in the order of all draws: a batch of two has the places 0 and 1 in step 0. Places come in
blocks, in each of which every source has its share, spread evenly with some chance. So which sample stands at
a place is a function of seed and place alone, whoever asks, and nothing of it is to be saved or shared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.distill.batch import step_generator

BLOCK = 1024
"""Places of a block; a share is kept to one in so many."""


@dataclass(frozen=True)
class Shares:
    """Which samples are of which source, and how often each source is drawn.

    Attributes:
        members: Numbers of the samples of each source, one or more.
        weights: Of each source, above 0; draws are shared in proportion.
    """

    members: tuple[Int[Tensor, " _"], ...]
    weights: tuple[float, ...]

    @property
    def quotas(self) -> list[int]:
        """Places of a block that each source has: in proportion, the largest remainders rounded up."""
        exact = [BLOCK * weight / sum(self.weights) for weight in self.weights]
        quotas = [int(each) for each in exact]
        by_rest = sorted(range(len(exact)), key=lambda number: quotas[number] - exact[number])
        for number in by_rest[: BLOCK - sum(quotas)]:
            quotas[number] += 1
        return quotas

    def order(self, batch_size: int, step: int, *, seed: int) -> list[int]:
        """Say which samples a step uses: of a source, each once before any is used again.

        Args:
            batch_size: Samples in a step.
            step: Number of the step, from 0.
            seed: The run's seed, 0 or more.

        Example:
            >>> shares = Shares((torch.tensor([0, 1]), torch.tensor([2])), (3.0, 1.0))
            >>> drawn = shares.order(1024, 0, seed=0)
            >>> drawn.count(0), drawn.count(1), drawn.count(2)
            (384, 384, 256)
        """
        places = range(step * batch_size, (step + 1) * batch_size)
        blocks = {number: self._block(number, seed) for number in {place // BLOCK for place in places}}
        return [self._sample(*blocks[place // BLOCK][place % BLOCK], seed) for place in places]

    def draw(self, generator: torch.Generator) -> int:
        """Draw one sample: a source by its weight, and any sample of that."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        samples = self.members[int(torch.multinomial(weights, 1, generator=generator))]
        return int(samples[int(torch.randint(len(samples), (1,), generator=generator))])

    def _block(self, block: int, seed: int) -> list[tuple[int, int]]:
        """List the source of each place of a block, and how often it was drawn before."""
        generator, quotas = step_generator(seed, block, purpose=6), self.quotas
        keys = [(torch.arange(quota) + torch.rand(quota, generator=generator)) / quota for quota in quotas]
        sources = torch.arange(len(quotas)).repeat_interleave(torch.tensor(quotas))
        drawn = [block * quota for quota in quotas]
        found = []
        for source in sources[torch.cat(keys).argsort(stable=True)].tolist():
            found.append((source, drawn[source]))
            drawn[source] += 1
        return found

    def _sample(self, source: int, drawn: int, seed: int) -> int:
        samples = self.members[source]
        epoch, place = divmod(drawn, len(samples))
        generator = step_generator(seed, epoch * len(self.members) + source, purpose=7)
        return int(samples[torch.randperm(len(samples), generator=generator)[place]])


def shares_of(sources: Sequence[str], weight_of: dict[str, float]) -> Shares:
    """Find which samples are of which source; a source without any is left out.

    Args:
        sources: Name of the source of each sample.
        weight_of: Weight of each source, by its name.
    """
    numbers: dict[str, list[int]] = {name: [] for name in weight_of}
    for number, name in enumerate(sources):
        numbers[name].append(number)
    present = [name for name, members in numbers.items() if members]
    return Shares(
        tuple(torch.tensor(numbers[name]) for name in present), tuple(weight_of[name] for name in present)
    )
