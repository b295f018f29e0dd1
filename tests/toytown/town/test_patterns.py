import numpy as np

from clip2scene.toytown.town.patterns import PATTERNS, paint
from clip2scene.toytown.town.textures import Hits, Texture


def test_every_texture_has_a_pattern_and_painting_together_equals_painting_apart():
    assert set(PATTERNS) == set(Texture)
    rng = np.random.default_rng(0)
    num = 5 * len(Texture)
    normal = rng.normal(size=(num, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    fields = [rng.uniform(-2, 3, (num, 3)), normal, rng.random((num, 3)), rng.random((num, 3))]
    fields += [rng.uniform(0.3, 2, (num, 4)), rng.random(num), rng.uniform(0.01, 0.3, num)]
    hits = Hits(*(field.astype(np.float32) for field in fields))
    textures = rng.permutation(np.repeat(np.arange(len(Texture)), 5))
    together = paint(textures, hits)
    assert np.isfinite(together).all()
    for row in range(num):
        single = Hits(*(getattr(hits, name)[row : row + 1] for name in Hits.__dataclass_fields__))
        assert np.allclose(PATTERNS[Texture(int(textures[row]))](single)[0], together[row], atol=1e-5)
