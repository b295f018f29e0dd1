"""Classes of each data set: one table each, and the union of their words.

What a class of one table is in another stands in :mod:`clip2scene.classes.mapping`.
"""

import colorsys
from collections.abc import Mapping

from clip2scene.classes.class_set import ClassSet, join_class_sets, keep_classes, train_ids

__all__ = [
    "ALL",
    "CITYSCAPES",
    "CLASS_SETS",
    "NUSCENES",
    "NUSCENES_CATEGORIES",
    "PANDASET",
    "SCANNET",
    "SCANNET_200",
    "SCANNET_CATEGORIES",
    "SEMANTIC_KITTI",
    "TOYTOWN",
    "TOYTOWN_KITTI",
    "ClassSet",
    "train_ids",
]

_Row = tuple[tuple[str, ...], tuple[int, int, int]]


def _class_set(name: str, rows: Mapping[str, _Row], train_id_of_raw: Mapping[int, int]) -> ClassSet:
    """Make a class set of rows: class, its prompts, its colour."""
    prompts, colours = zip(*rows.values(), strict=True)
    return ClassSet(name, tuple(rows), prompts, colours, train_id_of_raw)


NUSCENES_CATEGORIES = (
    *("noise", "animal", "human.pedestrian.adult", "human.pedestrian.child"),
    *("human.pedestrian.construction_worker", "human.pedestrian.personal_mobility"),
    *("human.pedestrian.police_officer", "human.pedestrian.stroller", "human.pedestrian.wheelchair"),
    *("movable_object.barrier", "movable_object.debris", "movable_object.pushable_pullable"),
    *("movable_object.trafficcone", "static_object.bicycle_rack", "vehicle.bicycle", "vehicle.bus.bendy"),
    *("vehicle.bus.rigid", "vehicle.car", "vehicle.construction", "vehicle.emergency.ambulance"),
    *("vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer", "vehicle.truck"),
    *("flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade"),
    *("static.other", "static.vegetation", "vehicle.ego"),
)
"""nuScenes' own category names in the order of their raw lidarseg ids, 0 to 31."""

NUSCENES = _class_set(
    "nuscenes",
    {
        "barrier": (("barrier", "barricade"), (112, 128, 144)),
        "bicycle": (("bicycle",), (220, 20, 60)),
        "bus": (("bus",), (255, 127, 80)),
        "car": (("car", "van", "SUV"), (255, 158, 0)),
        "construction vehicle": (("construction vehicle", "excavator", "crane", "bulldozer"), (233, 150, 70)),
        "motorcycle": (("motorcycle", "scooter"), (255, 61, 99)),
        "pedestrian": (("person", "pedestrian", "child", "construction worker"), (0, 0, 230)),
        "traffic cone": (("traffic cone",), (47, 79, 79)),
        "trailer": (("trailer",), (255, 140, 0)),
        "truck": (("truck", "pickup truck"), (255, 99, 71)),
        "driveable surface": (("road", "street", "crosswalk"), (0, 207, 191)),
        "other flat": (("traffic island", "railway track", "water"), (175, 0, 75)),
        "sidewalk": (("sidewalk", "curb"), (75, 0, 75)),
        "terrain": (("grass", "lawn", "soil", "gravel"), (112, 180, 60)),
        "manmade": (
            ("building", "wall", "pole", "fence", "traffic sign", "traffic light", "bridge"),
            (222, 184, 135),
        ),
        "vegetation": (("tree", "bush", "plant"), (0, 175, 0)),
    },
    {
        **{9: 0, 14: 1, 15: 2, 16: 2, 17: 3, 18: 4, 21: 5, 2: 6, 3: 6, 4: 6, 6: 6, 12: 7, 22: 8, 23: 9},
        **{24: 10, 25: 11, 26: 12, 27: 13, 28: 14, 30: 15},
    },
)
"""The 16 classes of nuScenes-lidarseg's challenge; raw ids are positions in :data:`NUSCENES_CATEGORIES`."""

TOYTOWN = keep_classes(
    NUSCENES,
    "toytown",
    {
        "barrier": ("barrier",),
        "bicycle": ("bicycle",),
        "bus": ("bus",),
        "car": ("car",),
        "pedestrian": ("person",),
        "traffic cone": ("cone",),
        "truck": ("truck",),
        "driveable surface": ("road",),
        "sidewalk": ("sidewalk",),
        "terrain": ("grass",),
        "manmade": ("building", "house", "wall", "pole", "sign"),
        "vegetation": ("tree", "bush"),
    },
)
"""The 12 of nuScenes' 16 classes that the embedded world has, in its image-text model's own words."""

SEMANTIC_KITTI = _class_set(
    "semantic-kitti",
    {
        "car": (("car",), (100, 150, 245)),
        "bicycle": (("bicycle", "bike"), (100, 230, 245)),
        "motorcycle": (("motorcycle", "motorbike", "moped"), (30, 60, 150)),
        "truck": (("truck", "lorry"), (80, 30, 180)),
        "other vehicle": (("vehicle", "bus", "tram", "train", "trailer", "caravan"), (0, 0, 255)),
        "person": (("person", "pedestrian"), (255, 30, 30)),
        "bicyclist": (("bicyclist", "cyclist"), (255, 40, 200)),
        "motorcyclist": (("motorcyclist",), (150, 30, 90)),
        "road": (("road", "street"), (255, 0, 255)),
        "parking": (("parking lot", "parking space"), (255, 150, 255)),
        "sidewalk": (("sidewalk", "footpath"), (75, 0, 75)),
        "other ground": (("traffic island", "railway track"), (175, 0, 75)),
        "building": (("building", "house", "garage"), (255, 200, 0)),
        "fence": (("fence", "railing", "guard rail"), (255, 120, 50)),
        "vegetation": (("tree", "bush", "hedge"), (0, 175, 0)),
        "trunk": (("tree trunk", "trunk"), (135, 60, 0)),
        "terrain": (("grass", "lawn", "soil"), (150, 240, 80)),
        "pole": (("pole", "lamp post"), (255, 240, 150)),
        "traffic sign": (("traffic sign", "road sign"), (255, 0, 0)),
    },
    {
        **{10: 0, 252: 0, 11: 1, 15: 2, 18: 3, 258: 3, 13: 4, 16: 4, 20: 4, 256: 4, 257: 4, 259: 4},
        **{30: 5, 254: 5, 31: 6, 253: 6, 32: 7, 255: 7, 40: 8, 60: 8, 44: 9, 48: 10, 49: 11, 50: 12},
        **{51: 13, 70: 14, 71: 15, 72: 16, 80: 17, 81: 18},
    },
)
"""The 19 classes of SemanticKITTI's single-scan benchmark, where moving things count as standing ones.

Raw ids are the lower 16 bits of a label (``label & 0xFFFF``); the upper ones number the thing.
"""

TOYTOWN_KITTI = keep_classes(
    SEMANTIC_KITTI,
    "toytown-kitti",
    {
        "car": ("car",),
        "bicycle": ("bicycle",),
        "truck": ("truck",),
        "other vehicle": ("bus",),
        "person": ("person",),
        "road": ("road",),
        "sidewalk": ("sidewalk",),
        "building": ("building", "house"),
        "fence": ("wall", "barrier"),
        "vegetation": ("tree", "bush"),
        "terrain": ("grass",),
        "pole": ("pole",),
        "traffic sign": ("sign",),
    },
)
"""The 13 of SemanticKITTI's 19 classes that the embedded world has, in its image-text model's own words."""

CITYSCAPES = _class_set(
    "cityscapes",
    {
        "road": (("road", "street"), (128, 64, 128)),
        "sidewalk": (("sidewalk",), (244, 35, 232)),
        "building": (("building", "house"), (70, 70, 70)),
        "wall": (("wall",), (102, 102, 156)),
        "fence": (("fence",), (190, 153, 153)),
        "pole": (("pole",), (153, 153, 153)),
        "traffic light": (("traffic light",), (250, 170, 30)),
        "traffic sign": (("traffic sign",), (220, 220, 0)),
        "vegetation": (("tree", "bush", "vegetation"), (107, 142, 35)),
        "terrain": (("grass", "terrain"), (152, 251, 152)),
        "sky": (("sky",), (70, 130, 180)),
        "person": (("person", "pedestrian"), (220, 20, 60)),
        "rider": (("rider",), (255, 0, 0)),
        "car": (("car",), (0, 0, 142)),
        "truck": (("truck",), (0, 0, 70)),
        "bus": (("bus",), (0, 60, 100)),
        "train": (("train",), (0, 80, 100)),
        "motorcycle": (("motorcycle",), (0, 0, 230)),
        "bicycle": (("bicycle",), (119, 11, 32)),
    },
    {train_id: train_id for train_id in range(19)},
)
"""The 19 classes most public street segmenters speak; raw ids are the usual train ids."""

PANDASET = ClassSet(
    name="pandaset",
    classes=CITYSCAPES.classes,
    prompts=CITYSCAPES.prompts,
    colours=CITYSCAPES.colours,
    train_id_of_raw={
        **{7: 0, 8: 0, 9: 0, 10: 0, 11: 1, 41: 2, 35: 4, 39: 4, 36: 7, 38: 7, 5: 8, 6: 9, 30: 11, 31: 11},
        **{13: 13, 14: 13, 15: 14, 16: 14, 23: 15, 18: 17, 26: 18},
    },
)
"""PandaSet evaluated in Cityscapes' 19 classes, so that a street segmenter's labels and the lidar truth share
their ids.

13 of the 19 have a PandaSet label at all; sky, wall, pole, traffic light, rider and train never occur in the
truth, so a point that is called one of these is simply wrong, and a mean over the classes present leaves them
out.
"""

SCANNET = _class_set(
    "scannet",
    {
        "wall": (("wall",), (174, 199, 232)),
        "floor": (("floor", "carpet"), (152, 223, 138)),
        "cabinet": (("cabinet", "cupboard"), (31, 119, 180)),
        "bed": (("bed",), (255, 187, 120)),
        "chair": (("chair", "armchair", "stool"), (188, 189, 34)),
        "sofa": (("sofa", "couch"), (140, 86, 75)),
        "table": (("table", "coffee table"), (255, 152, 150)),
        "door": (("door",), (214, 39, 40)),
        "window": (("window",), (197, 176, 213)),
        "bookshelf": (("bookshelf", "bookcase"), (148, 103, 189)),
        "picture": (("picture", "poster", "painting"), (196, 156, 148)),
        "counter": (("counter", "kitchen counter"), (23, 190, 207)),
        "desk": (("desk",), (247, 182, 210)),
        "curtain": (("curtain",), (219, 219, 141)),
        "refrigerator": (("refrigerator", "fridge"), (255, 127, 14)),
        "shower curtain": (("shower curtain",), (158, 218, 229)),
        "toilet": (("toilet",), (44, 160, 44)),
        "sink": (("sink", "washbasin"), (112, 128, 144)),
        "bathtub": (("bathtub",), (227, 119, 194)),
        "other furniture": (("furniture", "wardrobe", "bench"), (82, 84, 163)),
    },
    {
        **{1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8, 10: 9, 11: 10, 12: 11, 14: 12, 16: 13},
        **{24: 14, 28: 15, 33: 16, 34: 17, 36: 18, 39: 19},
    },
)
"""The 20 classes of ScanNet's benchmark; raw ids are NYU40's."""

SCANNET_CATEGORIES = {
    **{1: "wall", 2: "chair", 3: "floor", 4: "table", 5: "door", 6: "couch", 7: "cabinet", 8: "shelf"},
    **{9: "desk", 10: "office chair", 11: "bed", 13: "pillow", 14: "sink", 15: "picture", 16: "window"},
    **{17: "toilet", 18: "bookshelf", 19: "monitor", 21: "curtain", 22: "book", 23: "armchair"},
    **{24: "coffee table", 26: "box", 27: "refrigerator", 28: "lamp", 29: "kitchen cabinet", 31: "towel"},
    **{32: "clothes", 33: "tv", 34: "nightstand", 35: "counter", 36: "dresser", 38: "stool", 39: "cushion"},
    **{40: "plant", 41: "ceiling", 42: "bathtub", 44: "end table", 45: "dining table", 46: "keyboard"},
    **{47: "bag", 48: "backpack", 49: "toilet paper", 50: "printer", 51: "tv stand", 52: "whiteboard"},
    **{54: "blanket", 55: "shower curtain", 56: "trash can", 57: "closet", 58: "stairs", 59: "microwave"},
    **{62: "stove", 63: "shoe", 64: "computer tower", 65: "bottle", 66: "bin", 67: "ottoman", 68: "bench"},
    **{69: "board", 70: "washing machine", 71: "mirror", 72: "copier", 73: "basket", 74: "sofa chair"},
    **{75: "file cabinet", 76: "fan", 77: "laptop", 78: "shower", 79: "paper", 80: "person"},
    **{82: "paper towel dispenser", 84: "oven", 86: "blinds", 87: "rack", 88: "plate", 89: "blackboard"},
    **{90: "piano", 93: "suitcase", 95: "rail", 96: "radiator", 97: "recycling bin", 98: "container"},
    **{99: "wardrobe", 100: "soap dispenser", 101: "telephone", 102: "bucket", 103: "clock", 104: "stand"},
    **{105: "light", 106: "laundry basket", 107: "pipe", 110: "clothes dryer", 112: "guitar"},
    **{115: "toilet paper holder", 116: "seat", 118: "speaker", 120: "column", 121: "bicycle"},
    **{122: "ladder", 125: "bathroom stall", 128: "shower wall", 130: "cup", 131: "jacket"},
    **{132: "storage bin", 134: "coffee maker", 136: "dishwasher", 138: "paper towel roll", 139: "machine"},
    **{140: "mat", 141: "windowsill", 145: "bar", 148: "toaster", 154: "bulletin board"},
    **{155: "ironing board", 156: "fireplace", 157: "soap dish", 159: "kitchen counter", 161: "doorframe"},
    **{163: "toilet paper dispenser", 165: "mini fridge", 166: "fire extinguisher", 168: "ball", 169: "hat"},
    **{170: "shower curtain rod", 177: "water cooler", 180: "paper cutter", 185: "tray", 188: "shower door"},
    **{191: "pillar", 193: "ledge", 195: "toaster oven", 202: "mouse", 208: "toilet seat cover dispenser"},
    **{213: "furniture", 214: "cart", 221: "storage container", 229: "scale", 230: "tissue box"},
    **{232: "light switch", 233: "crate", 242: "power outlet", 250: "decoration", 261: "sign"},
    **{264: "projector", 276: "closet door", 283: "vacuum cleaner", 286: "candle", 300: "plunger"},
    **{304: "stuffed animal", 312: "headphones", 323: "dish rack", 325: "broom", 331: "guitar case"},
    **{342: "range hood", 356: "dustpan", 370: "hair dryer", 392: "water bottle", 395: "handicap bar"},
    **{399: "purse", 408: "vent", 417: "shower floor", 488: "water pitcher", 540: "mailbox", 562: "bowl"},
    **{570: "paper bag", 572: "alarm clock", 581: "music stand", 609: "projector screen", 748: "divider"},
    **{776: "laundry detergent", 1156: "bathroom counter", 1163: "object", 1164: "bathroom vanity"},
    **{1165: "closet wall", 1166: "laundry hamper", 1167: "bathroom stall door", 1168: "ceiling light"},
    **{1169: "trash bin", 1170: "dumbbell", 1171: "stair rail", 1172: "tube", 1173: "bathroom cabinet"},
    **{1174: "cd case", 1175: "closet rod", 1176: "coffee kettle", 1178: "structure", 1179: "shower head"},
    **{1180: "keyboard piano", 1181: "case of water bottles", 1182: "coat rack"},
    **{1183: "storage organizer", 1184: "folded chair", 1185: "fire alarm", 1186: "power strip"},
    **{1187: "calendar", 1188: "poster", 1189: "potted plant", 1190: "luggage", 1191: "mattress"},
}
"""ScanNet's own categories that are frequent enough for the ScanNet200 benchmark, by their id.

The ids are those of the column ``id`` of ``scannetv2-labels.combined.tsv``.
"""


def _colour(number: int) -> tuple[int, int, int]:
    """Choose a colour unlike those of the numbers near it."""
    shade = colorsys.hsv_to_rgb(number * 0.618034 % 1, (0.85, 0.5)[number % 2], (1.0, 0.8, 0.6)[number % 3])
    red, green, blue = (round(255 * channel) for channel in shade)
    return red, green, blue


SCANNET_200 = ClassSet(
    name="scannet-200",
    classes=tuple(SCANNET_CATEGORIES.values()),
    prompts=tuple((name,) for name in SCANNET_CATEGORIES.values()),
    colours=tuple(_colour(number) for number in range(len(SCANNET_CATEGORIES))),
    train_id_of_raw={raw: number for number, raw in enumerate(SCANNET_CATEGORIES)},
)
"""The 200 classes in the order of their ids, each called by its name; raw ids are ScanNet's categories."""

ALL = join_class_sets([NUSCENES, SEMANTIC_KITTI, CITYSCAPES, SCANNET], name="all")
"""The union, words only: 16 classes of nuScenes, 28 with SemanticKITTI's, 33 with Cityscapes', 52 with
ScanNet's."""

CLASS_SETS: dict[str, ClassSet] = {
    each.name: each
    for each in (NUSCENES, TOYTOWN, SEMANTIC_KITTI, TOYTOWN_KITTI, CITYSCAPES, PANDASET, SCANNET, ALL)
}
"""Every class set by its name."""
