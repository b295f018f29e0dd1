import numpy as np
from PIL import Image


def damages(content, number, seed=0):
    """Cut a file short in some places, and flip one to three bits of it in others."""
    rng = np.random.default_rng(seed)
    yield b""
    for turn in range(number):
        if turn % 2:
            yield content[: int(rng.integers(len(content)))]
        else:
            changed = bytearray(content)
            for place in rng.integers(len(content), size=int(rng.integers(1, 4))):
                changed[place] ^= 1 << int(rng.integers(8))
            yield bytes(changed)


def try_damages(path, read, check, *, number, names=(), seed=0):
    """Read a file damaged in many ways; count the refusals. ``read`` must give what ``check`` takes."""
    whole, refused = path.read_bytes(), 0
    for damaged in damages(whole, number, seed):
        path.write_bytes(damaged)
        try:
            found = read()
        except ValueError as error:
            refused += 1
            assert any(name in str(error) for name in (path.name, *names)), error
            assert "\n" not in str(error).strip() and len(str(error)) < 2000, error
        else:
            check(found)
    path.write_bytes(whole)
    check(read())
    return refused


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def a_picture(channels=3):
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 200, 40)[None, :, None] * np.ones((30, 1, channels))
    return (smooth + rng.integers(0, 40, smooth.shape)).astype(np.uint8)
