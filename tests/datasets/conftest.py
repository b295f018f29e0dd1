import base64
import gzip
import json
import math
import pickle
import sys
import types

import numpy as np
import pytest
from PIL import Image

from clip2scene.datasets.pandaset.loader import CAMERAS, HEIGHT, WIDTH

# A lidar and a label table of five points as pandas 2.2.3 pickles them (to_pickle, protocol 4, gzip).
LIDAR_PICKLE = (
    "ABzYGwiy9y0{?7jWMOhHaBFM;ZBtE16;Tv^^K>*zGAUCcBFf?w^xE`G#`sf)4Lzw%n;yfR_pZ+5%)H0^poWT(n&O2PUKc^Ft"
    "VN4{)~Srr#)T9?AQ(bryo$0Pa@WGny))8NyKwJ!&&>I`=R4>07LI-@i10<qv&c##C!WgKINo9-6H`)h4!Nk2-$&@7o3xw8NT"
    "Fi3+LY|cSJy2U+ZHmMxQQ&(ifxCI(t0D4YP%H3U`}?17K)*(&OZ}M$`sGa>ZvvZD=M>L$`zJpW;+A#rf0Z1vTf7}UKJasGM3"
    "}oUdm;PB3GoO7<_Y;5h_ReX@j8B+w=;J$$~7(;sDjkh?sUevn&%5Z8=4U27~_vM5v*OMB?HKEPlulm#RYzGj)A$hn6a*q}lV"
    "6UtWEl^37-3gR4CsrJry5zKzd6mzElGRmZB|`?=RIN0sV1sb<^c!J`Yy(%6JP(Utfv#h%Vjuk_{o@tJ$0hoxoz&+^`;g<p&Q"
    "V(IXU$FYaft^K<u9^H*j^&Gh0n-pgKo)7hxYk&Oqc|G1;uMG;*7~+Wld)q>J2g8ct<8yU$V*x(7AaLye8sN1%QH~VSA)8cB2"
    "O2HlTXYOPg*j2cjlgJ-qwLhSXj`>%MxVBQl{|ryS4E<F9%b6@{}C38giDC5UF&7`AZ;JSF3OKSK$Fm3RcreyjXSUtSCIqVxL"
    "L7qyVAtI!Q-`)L|nb|zDz@}(v1le_4DU9uc>&~x{6CI0Ty29phSRn5^liOVY{%?6f+77Ej9=VZ-7yCS~~+#wX+)oiXa@xV<Q"
    "@(7-DgVCHZVL6OkuNxp&MCm^A2D7($lV>Od+cb`j4s357(i3!~OeNs-cGpjLjZM23-Rca*f3g)$=-D+W?A%-Nvhsqw!RCr^U"
    "%0{{R"
)


LABEL_PICKLE = (
    "ABzYGwiy9y0{?SmXD)DSYyf3a-Af!X5Z~M0Y85|_Vig3R?-18l9|WNm!5&_r?-FKr<7F|MTaqk#P@#SB3-adlf9ZdxliZzpn"
    "uW>CX1;#EnLq7+|Klhew^oBHz@+(5^YmOp#nCN%2MfnRf5h%zyvB}evudExZNGIdmE~H2G-(A223#9-OW))$zc?M+6z;xGBA"
    "6^Q^BRI~l{Km^^9#vY=3~6`x@xL=G|pZ%(w3k#j3_J9JRd4!b(34~m;^_3^OQTdJYp}p!J}4&clZlCy%v4REs9l_6n0d5BrY"
    "!Z@!@{_{>iltu;1_hc%l<TFS3|D9ChZ$%tXu4?CDPKWO5_9yU$ruQk#nKBu17w4~_WhzDzIn@&?a{z|C3a3Vy{+nt>s{7n$O"
    "h?8N`0aM5+iR1eG-Gz}ChV$CBIUtaK$vFYNUGnjtA!*u8|ol$eS1Y;0<&u!%=+iz|uNbHDRDkAni=1<7jB0i@0<9GO{JT1K8"
    "LmapyV8f7|dqJy11E8()IHnuMDsCYF^UZ;^v^&@6=GeJ}K~Oh9%HgG9MN<>6U^$bJaax>v(`4y0Z9$Cx!vX*R"
)


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    heading = {"w": math.cos(yaw / 2), "x": 0.0, "y": 0.0, "z": math.sin(yaw / 2)}
    return {"position": {"x": x, "y": y, "z": z}, "heading": heading}


LOOKING_FORWARD = {
    "w": 0.5**0.5,
    "x": -(0.5**0.5),
    "y": 0.0,
    "z": 0.0,
}  # x right, y down, z along the ego's y


@pytest.fixture
def sequence(tmp_path):
    """Two frames of three points in PandaSet's layout; the ego drives along the world's y axis."""
    root = tmp_path / "007"
    (root / "lidar").mkdir(parents=True)
    world = np.array([[0, 10, 1], [-3, 20, 0], [2, -5, 0]], np.float32)
    for frame in range(2):
        np.savez(
            root / "lidar" / f"{frame:02d}.npz",
            xyz=world,
            intensity=np.array([0, 51, 255], np.uint8),
            sensor=np.array([0, 1, 0], np.uint8),
            label=np.array([13, 41, 0], np.uint8),
        )
    (root / "lidar" / "poses.json").write_text(json.dumps([pose(), pose(y=2.0)]))
    for name in CAMERAS:
        folder = root / "camera" / name
        folder.mkdir(parents=True)
        (folder / "intrinsics.json").write_text(
            json.dumps({"fx": 1000.0, "fy": 1000.0, "cx": 959.5, "cy": 539.5})
        )
        poses = [{**pose(), "heading": LOOKING_FORWARD}, {**pose(y=2.5), "heading": LOOKING_FORWARD}]
        (folder / "poses.json").write_text(json.dumps(poses))
        Image.new("RGB", (WIDTH, HEIGHT), (10, 20, 30)).save(folder / "00.jpg")
    return root


def write_pickle(path, encoded):
    path.write_bytes(base64.b85decode(encoded))
    return path


@pytest.fixture
def official(sequence, tmp_path):
    """The same sequence with its first frame as an official download has it."""
    root = tmp_path / "download" / "007"
    (root / "annotations" / "semseg").mkdir(parents=True)
    (sequence / "camera").rename(root / "camera")
    (root / "lidar").mkdir()
    (sequence / "lidar" / "poses.json").rename(root / "lidar" / "poses.json")
    write_pickle(root / "lidar" / "00.pkl.gz", LIDAR_PICKLE)
    write_pickle(root / "annotations" / "semseg" / "00.pkl.gz", LABEL_PICKLE)
    return root


def stand_in(module, name, **methods):
    """Make a class that pickles under another module's name, as the real one would."""
    made = type(name, (), methods)
    made.__module__ = module
    parent = sys.modules.setdefault(module, types.ModuleType(module))
    setattr(parent, name, made)
    return made


@pytest.fixture
def old_table(monkeypatch):
    """Writes tables as pandas before 1.3 pickles them: names, blocks of values and the numbers of rows."""
    for module in ("pandas", "pandas.core", "pandas.core.frame", "pandas.core.internals"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    for module in ("pandas.core.internals.managers", "pandas.core.indexes.base"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    manager_class = stand_in(
        "pandas.core.internals.managers", "BlockManager", __getstate__=lambda self: self.held, held=None
    )
    index_class = stand_in("pandas.core.indexes.base", "Index")
    new_index = types.FunctionType((lambda cls, fields: None).__code__, {}, "_new_Index")
    new_index.__module__, new_index.__qualname__ = "pandas.core.indexes.base", "_new_Index"
    sys.modules["pandas.core.indexes.base"]._new_Index = new_index
    index_class.__reduce__ = lambda self: (new_index, (index_class, {"data": self.names, "name": None}))
    frame_class = stand_in("pandas.core.frame", "DataFrame")

    def write(path, names, blocks, rows, protocol=4):
        columns, numbers = index_class(), index_class()
        columns.names, numbers.names = np.array(names, dtype=object), rows
        manager, frame = manager_class(), frame_class()
        manager.held = ([], [], [], {"0.14.1": {"axes": [columns, numbers], "blocks": blocks}})
        frame.__dict__.update(_data=manager, _typ="dataframe", _metadata=[])
        path.write_bytes(gzip.compress(pickle.dumps(frame, protocol=protocol)))
        return path

    return write
