"""What stands in a furnished room, each piece drawn anew.

A piece's frame has x forward (into the room when its back is at a wall), y left, z up and its origin on the
floor under its middle. Its label is the raw id that ScanNet's files hold: NYU40's.
"""

import numpy as np

from clip2scene.toytown.town.shapes import Mesh, Vector, box, cone, join, tube
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import DARK, PALETTE, STEEL, Colour, Part, Thing, pick_colour, triple

NYU40_OF_NOUN = {
    **{"wall": 1, "floor": 2, "cabinet": 3, "bed": 4, "chair": 5, "couch": 6, "table": 7, "door": 8},
    **{"window": 9, "bookshelf": 10, "picture": 11, "counter": 12, "desk": 14, "curtain": 16, "pillow": 18},
    **{"ceiling": 22, "refrigerator": 24, "shower curtain": 28, "toilet": 33, "sink": 34, "lamp": 35},
    **{"bathtub": 36, "wardrobe": 39},
}
"""NYU40's id of every kind of thing in a room; pillows, ceilings, lamps are none of ScanNet's 20 classes."""

WOODS: tuple[Colour, ...] = ((0.52, 0.33, 0.17), (0.36, 0.21, 0.11), (0.74, 0.58, 0.38), (0.85, 0.82, 0.76))
CERAMIC: Colour = (0.90, 0.91, 0.92)
_GLASS: Colour = (0.62, 0.76, 0.90)


def piece(noun: str, colour: str, *parts: Part) -> Thing:
    """Make a thing of a room."""
    return Thing(NYU40_OF_NOUN[noun], noun, colour, parts)


def bed(rng: np.random.Generator) -> Thing:
    """Frame, mattress and headboard, the head at the wall."""
    word, cloth = pick_colour(rng, ("white", "blue", "beige", "grey", "red"))
    half, long = rng.uniform(0.5, 0.8), rng.uniform(0.98, 1.05)
    frame = join(
        [box((-long, -half, 0.08), (long, half, 0.3)), box((-long, -half, 0.0), (-long + 0.06, half, 1.0))]
    )
    mattress = box((-long + 0.08, -half + 0.03, 0.3), (long - 0.03, half - 0.03, 0.52))
    return piece("bed", word, _wooden(frame, rng), Part(mattress, Texture.CLOTH, cloth, _darker(cloth)))


def pillow(rng: np.random.Generator) -> Thing:
    """Cushion that lies on its origin."""
    word, cloth = pick_colour(rng, ("white", "beige", "yellow"))
    body = box((-0.18, -0.28, 0.0), (0.18, 0.28, 0.12), inset=(0.06, 0.06, 0.06))
    return piece("pillow", word, Part(body, Texture.CLOTH, cloth))


def chair(rng: np.random.Generator) -> Thing:
    """Seat on four legs with a back."""
    word, paint = pick_colour(rng, ("brown", "black", "red", "blue", "white"))
    half = rng.uniform(0.19, 0.23)
    seat = box((-half, -half, 0.43), (half, half, 0.48))
    back = box((-half, -half, 0.48), (-half + 0.04, half, rng.uniform(0.85, 1.0)))
    legs = _legs(half, half, 0.43, 0.02)
    return piece("chair", word, Part(join([seat, back, *legs]), Texture.PLAIN, paint))


def couch(rng: np.random.Generator) -> Thing:
    """Seat, back and two arms."""
    word, cloth = pick_colour(rng, ("blue", "grey", "red", "green", "beige"))
    half = rng.uniform(0.8, 1.1)
    body = [
        box((-0.42, -half, 0.08), (0.42, half, 0.42)),
        box((-0.42, -half, 0.42), (-0.2, half, 0.85)),
        box((-0.42, -half, 0.42), (0.42, -half + 0.18, 0.62)),
        box((-0.42, half - 0.18, 0.42), (0.42, half, 0.62)),
    ]
    return piece("couch", word, Part(join(body), Texture.CLOTH, cloth, _darker(cloth)))


def table(rng: np.random.Generator) -> Thing:
    """Top on four legs."""
    long, wide = rng.uniform(0.6, 0.8), rng.uniform(0.4, 0.5)
    top = box((-long, -wide, 0.71), (long, wide, 0.75))
    return piece("table", "brown", _wooden(join([top, *_legs(long, wide, 0.71, 0.03)]), rng))


def desk(rng: np.random.Generator) -> Thing:
    """Top between a panel and a block of drawers."""
    half = rng.uniform(0.55, 0.75)
    body = [
        box((-0.33, -half, 0.70), (0.33, half, 0.74)),
        box((-0.33, -half, 0.0), (0.33, -half + 0.04, 0.70)),
        box((-0.30, half - 0.42, 0.0), (0.30, half, 0.70)),
    ]
    return piece("desk", "brown", _wooden(join(body), rng))


def cabinet(rng: np.random.Generator) -> Thing:
    """Low block of boards."""
    half, high = rng.uniform(0.4, 0.6), rng.uniform(0.75, 1.1)
    return piece("cabinet", "brown", _wooden(box((-0.22, -half, 0.0), (0.22, half, high)), rng))


def wardrobe(rng: np.random.Generator) -> Thing:
    """Tall block with two doors, one of ScanNet's other furniture."""
    half, high = rng.uniform(0.5, 0.65), rng.uniform(1.9, 2.1)
    handles = [tube((0.31, y, 0.9), (0.31, y, 1.15), 0.012) for y in (-0.06, 0.06)]
    body = box((-0.3, -half, 0.0), (0.3, half, high))
    return piece("wardrobe", "brown", _wooden(body, rng), Part(join(handles), Texture.PLAIN, STEEL))


def bookshelf(rng: np.random.Generator) -> Thing:
    """Back, sides and boards, with a row of books on each board."""
    half, high, rows = rng.uniform(0.4, 0.6), rng.uniform(1.7, 2.0), 5
    boards = [box((-0.15, -half, 0.0), (-0.13, half, high))]
    boards += [box((-0.13, side - 0.012, 0.0), (0.15, side + 0.012, high)) for side in (-half, half)]
    levels = np.linspace(0.08, high - 0.02, rows + 1)
    boards += [box((-0.13, -half, level - 0.02), (0.15, half, level)) for level in levels]
    parts = [_wooden(join(boards), rng)]
    for level in levels[:-1]:
        end = half - 0.04 - rng.uniform(0.0, 0.5)
        books = box((-0.12, -half + 0.03, level), (rng.uniform(0.06, 0.12), end, level + 0.22))
        colours = pick_colour(rng)[1], pick_colour(rng)[1]
        parts.append(Part(books, Texture.BLOCKS, *colours, (rng.uniform(0.03, 0.06), 0.0, 0.0, 0.0)))
    return piece("bookshelf", "", *parts)


def counter(rng: np.random.Generator) -> Thing:
    """Kitchen counter: cupboards under a slab, with a hole's room for a sink on top."""
    half = rng.uniform(0.8, 1.0)
    slab = box((-0.31, -half, 0.86), (0.31, half, 0.90))
    body = box((-0.30, -half, 0.0), (0.28, half, 0.86))
    return piece("counter", "", _wooden(body, rng), Part(slab, Texture.CLOTH, pick_colour(rng, ("grey",))[1]))


def sink(rng: np.random.Generator) -> Thing:
    """Basin with a tap, its lower edge at the origin."""
    del rng
    basin = _tray((-0.2, -0.25, 0.0), (0.2, 0.25, 0.14), 0.02)
    tap = [
        tube((-0.17, 0.0, 0.1), (-0.17, 0.0, 0.3), 0.014),
        tube((-0.17, 0.0, 0.3), (-0.04, 0.0, 0.27), 0.012),
    ]
    return piece("sink", "white", Part(basin, Texture.PLAIN, CERAMIC), Part(join(tap), Texture.PLAIN, STEEL))


def washbasin(rng: np.random.Generator) -> Thing:
    """Basin on a foot."""
    basin = sink(rng)
    raised = [Part(part.mesh.moved((0.0, 0.0, 0.7)), part.texture, part.colour) for part in basin.parts]
    foot = Part(cone((-0.05, 0.0, 0.0), (-0.05, 0.0, 0.7), 0.09, 0.07), Texture.PLAIN, CERAMIC)
    return piece("sink", "white", *raised, foot)


def refrigerator(rng: np.random.Generator) -> Thing:
    """Tall white block with a seam and a handle."""
    half, high = rng.uniform(0.3, 0.36), rng.uniform(1.5, 1.85)
    low = box((-0.3, -half, 0.03), (0.3, half, high * 0.62))
    upper = box((-0.3, -half, high * 0.62 + 0.015), (0.3, half, high))
    seam = box((-0.28, -half + 0.01, high * 0.62), (0.28, half - 0.01, high * 0.62 + 0.015))
    handle = tube((0.325, half - 0.06, high * 0.66), (0.325, half - 0.06, high * 0.9), 0.012)
    white, dark = Part(join([low, upper]), Texture.PLAIN, CERAMIC), Part(seam, Texture.PLAIN, DARK)
    return piece("refrigerator", "white", white, dark, Part(handle, Texture.PLAIN, STEEL))


def toilet(rng: np.random.Generator) -> Thing:
    """Bowl before a tank."""
    del rng
    bowl = cone((0.08, 0.0, 0.0), (0.1, 0.0, 0.40), 0.13, 0.22, sides=14)
    body = [bowl, box((-0.33, -0.19, 0.36), (-0.14, 0.19, 0.78)), box((-0.2, -0.1, 0.0), (0.05, 0.1, 0.36))]
    lid = tube((0.1, 0.0, 0.40), (0.1, 0.0, 0.43), 0.23, sides=14)
    return piece(
        "toilet",
        "white",
        Part(join(body), Texture.PLAIN, CERAMIC),
        Part(lid, Texture.PLAIN, (0.7, 0.7, 0.72)),
    )


def bathtub(rng: np.random.Generator) -> Thing:
    """Open tub, one long side at the wall."""
    half = rng.uniform(0.7, 0.85)
    return piece(
        "bathtub", "white", Part(_tray((-0.36, -half, 0.0), (0.36, half, 0.55), 0.05), Texture.PLAIN, CERAMIC)
    )


def shower_curtain(rng: np.random.Generator) -> Thing:
    """Striped sheet on a rod that hangs over the front edge of a bathtub and covers part of it."""
    word, cloth = pick_colour(rng, ("blue", "green", "yellow", "pink"))
    sheet = _folds(rng.uniform(0.5, 0.8), 0.35, 2.0)
    part = Part(sheet, Texture.CLOTH, cloth, PALETTE["white"], (1.0, 0.0, 0.0, 0.0))
    return piece("shower curtain", word, part)


def door(rng: np.random.Generator) -> Thing:
    """Panel in a frame, with a knob."""
    half = rng.uniform(0.4, 0.46)
    posts = [box((-0.03, side - 0.03, 0.0), (0.05, side + 0.03, 2.06)) for side in (-half, half)]
    frame = join([*posts, box((-0.03, -half, 2.0), (0.05, half, 2.06))])
    panel = _wooden(box((-0.03, -half + 0.03, 0.0), (0.02, half - 0.03, 2.0)), rng)
    knob = Part(tube((0.02, half - 0.12, 1.0), (0.07, half - 0.12, 1.0), 0.025), Texture.PLAIN, STEEL)
    return piece("door", "brown", panel, Part(frame, Texture.PLAIN, PALETTE["white"]), knob)


def window(rng: np.random.Generator) -> Thing:
    """Bright pane in a frame with a bar, its sill 0.95 m over the origin."""
    half, low, high = rng.uniform(0.5, 0.75), 0.95, 2.05
    bars = [box((-0.02, side - 0.04, low), (0.05, side + 0.04, high)) for side in (-half, 0.0, half)]
    bars += [box((-0.02, -half, level - 0.04), (0.05, half, level + 0.04)) for level in (low, high)]
    pane = Part(box((-0.02, -half, low), (0.01, half, high)), Texture.PLAIN, _GLASS)
    return piece("window", "", pane, Part(join(bars), Texture.PLAIN, PALETTE["white"]))


def curtain(rng: np.random.Generator) -> Thing:
    """Sheet of folds from under the ceiling to the floor."""
    word, cloth = pick_colour(rng, ("red", "orange", "green", "beige", "purple"))
    return piece("curtain", word, Part(_folds(rng.uniform(0.25, 0.4), 0.05, 2.3), Texture.CLOTH, cloth))


def picture(rng: np.random.Generator) -> Thing:
    """Two coloured canvas in a dark frame, hung 1.3 m over the origin."""
    half, high = rng.uniform(0.25, 0.5), rng.uniform(0.4, 0.6)
    frame = box((-0.015, -half - 0.03, 1.27), (0.015, half + 0.03, 1.33 + high))
    canvas = box((-0.005, -half, 1.3), (0.02, half, 1.3 + high))
    texture = (Texture.SLANTED, Texture.BRICKS, Texture.BLOCKS)[int(rng.integers(3))]
    look = Part(canvas, texture, pick_colour(rng)[1], pick_colour(rng)[1], (0.22, 0.13, 0.0, 0.0))
    return piece("picture", "", Part(frame, Texture.PLAIN, DARK), look)


def lamp(rng: np.random.Generator) -> Thing:
    """Floor lamp."""
    word, shade = pick_colour(rng, ("yellow", "white", "beige"))
    post = [
        tube((0.0, 0.0, 0.0), (0.0, 0.0, 1.4), 0.015),
        tube((0.0, 0.0, 0.0), (0.0, 0.0, 0.03), 0.14, sides=12),
    ]
    hood = cone((0.0, 0.0, 1.35), (0.0, 0.0, 1.65), 0.2, 0.12, sides=12)
    return piece("lamp", word, Part(join(post), Texture.PLAIN, DARK), Part(hood, Texture.PLAIN, shade))


def shell(rng: np.random.Generator, length: float, width: float, height: float) -> list[Thing]:
    """Four walls, floor and ceiling around a room whose corner is the origin; each wall is a thing."""
    paint = pick_colour(rng, ("white", "beige", "grey", "yellow"))[1]
    wide, t = 0.1, 0.1
    sides = [
        box((-t, -wide, 0.0), (0.0, width + wide, height)),
        box((-wide, -t, 0.0), (length + wide, 0.0, height)),
        box((length, -wide, 0.0), (length + t, width + wide, height)),
        box((-wide, width, 0.0), (length + wide, width + t, height)),
    ]
    walls = [piece("wall", "", Part(side, Texture.CLOTH, paint)) for side in sides]
    base = box((-wide, -wide, -t), (length + wide, width + wide, 0.0))
    wood = WOODS[int(rng.integers(len(WOODS)))]
    boards = Part(
        base, Texture.TILES, wood, _darker(wood), (rng.uniform(0.8, 1.4), rng.uniform(0.12, 0.3), 1.0, 0.0)
    )
    top = box((-wide, -wide, height), (length + wide, width + wide, height + t))
    return [
        piece("floor", "", boards),
        *walls,
        piece("ceiling", "white", Part(top, Texture.PLAIN, PALETTE["white"])),
    ]


def _wooden(mesh: Mesh, rng: np.random.Generator) -> Part:
    wood = WOODS[int(rng.integers(len(WOODS)))]
    return Part(mesh, Texture.BARK, wood, triple(np.array(wood) * 0.8))


def _darker(colour: Colour) -> Colour:
    return triple(np.array(colour) * 0.6)


def _legs(x: float, y: float, high: float, radius: float) -> list[Mesh]:
    """Four round legs near the corners of a top."""
    inner = 1.5 * radius
    corners = [(sx * (x - inner), sy * (y - inner)) for sx in (-1, 1) for sy in (-1, 1)]
    return [tube((cx, cy, 0.0), (cx, cy, high), radius) for cx, cy in corners]


def _tray(low: Vector, high: Vector, thick: float) -> Mesh:
    """Open box: a bottom and four sides."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    sides = [box((x0, y0, z0), (x0 + thick, y1, z1)), box((x1 - thick, y0, z0), (x1, y1, z1))]
    sides += [box((x0, y0, z0), (x1, y0 + thick, z1)), box((x0, y1 - thick, z0), (x1, y1, z1))]
    return join([box((x0, y0, z0), (x1, y1, z0 + thick)), *sides])


def _folds(half: float, low: float, high: float) -> Mesh:
    """Upright sheet along y that swings to and fro."""
    num = int(np.ceil(half / 0.02))
    y = np.linspace(-half, half, num + 1)
    x = 0.03 * np.sin(y / 0.035)
    bottom, top = (np.column_stack([x, y, np.full_like(y, z)]) for z in (low, high))
    here = np.arange(num)
    faces = [
        np.stack([here, here + 1, here + num + 2], 1),
        np.stack([here, here + num + 2, here + num + 1], 1),
    ]
    return Mesh(np.concatenate([bottom, top]).astype(np.float32), np.concatenate(faces).astype(np.int32))
