import numpy as np
import pytest
from PIL import Image
from tests.datasets.drive_log.conftest import NAMES, edited, lidar, points, write

from clip2scene.datasets.drive_log.files import HEADER
from clip2scene.datasets.drive_log.loader import DriveLog


def replaced(name, old, new):
    def apply(log):
        text = (log / name).read_text()
        assert old in text
        write(log, name, text.replace(old, new))

    return apply


def cloud(array):
    return lambda log: np.save(log / "lidar" / "a.npy", array)


def entry(**values):
    return edited(lambda content, camera: camera.update(values))


NAN = float("nan")


FAULTS = {
    "calibration missing": (lambda log: (log / "calibration.json").unlink(), r"calibration.json is missing"),
    "calibration cut": (lambda log: write(log, "calibration.json", '{"format":'), "not valid JSON"),
    "calibration a list": (
        lambda log: write(log, "calibration.json", []),
        "the file should be of type object",
    ),
    "no format": (edited(lambda c, _: c.pop("format")), "the file lacks format"),
    "later version": (edited(lambda c, _: c.update(version=2)), "version should be 1, got 2"),
    "version true": (edited(lambda c, _: c.update(version=True)), "version should be 1, got true"),
    "unknown entry": (edited(lambda c, _: c.update(cameraz=[])), "unknown entry 'cameraz', expected some of"),
    "typing slip": (entry(heigth=3), r"cameras\[0\] has an unknown entry 'heigth'"),
    "scaled": (entry(camera_from_lidar=(2 * np.eye(4)).tolist()), "camera_from_lidar is 0 0 0 2|0 0 0 1"),
    "sheared": (
        entry(camera_from_lidar=[[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        "front: camera_from_lidar is not a rotation",
    ),
    "mirrored": (
        entry(camera_from_lidar=np.diag([1, 1, -1, 1]).tolist()),
        "camera_from_lidar is not a rotation",
    ),
    "3x4": (
        entry(camera_from_lidar=np.eye(4)[:3].tolist()),
        "camera_from_lidar should have at least 4 entries, got 3",
    ),
    "NaN motion": (
        entry(camera_from_lidar={"rotation": [1, 0, 0, 0], "translation": [0, NAN, 0]}),
        r"camera_from_lidar.translation\[1\] should be of type number, got NaN",
    ),
    "quaternion of length 2": (
        entry(camera_from_lidar={"rotation": [2, 0, 0, 0], "translation": [0, 0, 0]}),
        "camera_from_lidar: quaternion .* is not a rigid motion",
    ),
    "motion in words": (entry(camera_from_lidar="identity"), "should be of type array or object, got"),
    "NaN intrinsics": (
        entry(intrinsics=[[NAN, 0, 1], [0, 1, 1], [0, 0, 1]]),
        r"intrinsics\[0\]\[0\] should be of type number, got NaN",
    ),
    "intrinsics of another size": (
        entry(intrinsics=[[30, 0, 320], [0, 30, 240], [0, 0, 1]]),
        r"front: the principal point \[320.0, 240.0\] is that of images of about 641x481, got 32x24",
    ),
    "intrinsics transposed": (
        entry(intrinsics=[[30, 0, 0], [0, 30, 0], [15, 11, 1]]),
        "front: intrinsics are",
    ),
    "negative focal length": (entry(intrinsics=[[-30, 0, 15], [0, 30, 11], [0, 0, 1]]), "positive fx and fy"),
    "distorted without a model": (
        entry(distortion=[0.1, 0, 0, 0, 0]),
        "front: a distortion without its model, expected distortion_model to be one of plumb_bob, rational_p",
    ),
    "unknown distortion": (
        entry(distortion_model="fov", distortion=[0.9]),
        r'distortion_model should be one of plumb_bob, rational_polynomial, equidistant, got "fov"',
    ),
    "distortion cut": (
        entry(distortion_model="rational_polynomial", distortion=[0.1, 0, 0, 0, 0]),
        r"front: distortion rational_polynomial has the coefficients .*, expected 8 finite numbers",
    ),
    "a fisheye's model alone": (
        entry(distortion_model="equidistant"),
        r"front: distortion equidistant has the coefficients \[\], expected 4 finite numbers",
    ),
    "distortion that leaves nothing": (
        entry(distortion_model="plumb_bob", distortion=[-90, 0, 0, 0, 0]),
        r"front: distortion plumb_bob \[-90.0, .* can be undone on \d+ % of the image's width",
    ),
    "distorted image of another size": (
        lambda log: (
            entry(distortion_model="plumb_bob", distortion=[-0.2, 0, 0, 0, 0])(log),
            Image.new("RGB", (31, 24)).save(log / "images" / "front" / "a.png"),
        ),
        "sample a: image .* is 31x24, expected 32x24",
    ),
    "width in words": (entry(width="32"), 'width should be of type integer, got "32"'),
    "no width": (entry(width=0), "width should be at least 1, got 0"),
    "camera above the folder": (entry(name="../front"), r"cameras\[0\].name should match"),
    "camera's line end": (entry(name="front\n"), r"cameras\[0\].name should match"),
    "camera twice": (
        edited(lambda c, camera: c["cameras"].append(camera)),
        "lists a camera twice: front, front",
    ),
    "folder of no camera": (entry(name="rear"), "images/front is of no camera in calibration.json"),
    "left-handed": (lidar(axes="FRU"), "right-handed"),
    "axes twice": (lidar(axes="FFU"), "right-handed"),
    "axes in words": (lidar(axes="ENU"), "lidar.axes should match"),
    "endless intensity": (lidar(intensity_max=10**400), "lidar.intensity_max should be of type number"),
    "no intensity": (lidar(intensity_max=0), "lidar.intensity_max should be above 0"),
    "image of another size": (
        lambda log: Image.new("RGB", (64, 48)).save(log / "images" / "front" / "a.png"),
        "sample a: image .* is 64x48, expected 32x24",
    ),
    "image broken": (lambda log: write(log, "images/front/a.png", "no"), "sample a: image .* cannot be read"),
    "image twice": (lambda log: write(log, "images/front/a.jpg", ""), "holds both a.jpg and a.png"),
    "no clouds": (lambda log: [path.unlink() for path in (log / "lidar").iterdir()], "lidar holds no cloud"),
    "cloud twice": (lambda log: write(log, "lidar/a.bin", "1234"), "holds both a.bin and a.npy"),
    "cloud of nuScenes": (lambda log: write(log, "lidar/d.pcd.bin", "1234"), "in nuScenes' own format"),
    "cloud with a blank": (lambda log: write(log, "lidar/d 1.npy", ""), "has the name 'd 1'"),
    "cloud of no points": (cloud(np.zeros((0, 4), np.float32)), "sample a: .* holds no points"),
    "cloud empty": (lambda log: write(log, "lidar/a.npy", ""), "sample a: .*a.npy is empty"),
    "cloud with NaN": (cloud(np.full((5, 4), np.nan, np.float32)), "sample a: .*5 points of 5 with NaN"),
    "cloud shorter than labels": (cloud(points(0)[:9]), "sample a: .*50 labels, but the cloud 9 points"),
    "labels as fractions": (
        lambda log: np.save(log / "labels" / "a.npy", np.zeros(50)),
        r"float64 of shape \(50,\), expected one whole number",
    ),
    "labels broken": (lambda log: write(log, "labels/a.npy", "no"), "sample a: .*cannot be read as a NumPy"),
    "no poses": (lambda log: (log / "poses.csv").unlink(), "poses.csv is missing"),
    "poses of other columns": (
        replaced("poses.csv", "qw,qx,qy,qz", "qx,qy,qz,qw"),
        "expected a first line name,",
    ),
    "poses empty": (lambda log: write(log, "poses.csv", ""), "expected a first line name,.* got 'nothing'"),
    "a pose cut": (
        replaced("poses.csv", "b,100000,1,0,0,1,0,0,0", "b,100000,1,0"),
        "line 3: expected 9 values",
    ),
    "time twice": (replaced("poses.csv", "b,100000", "b,0"), "line 3: timestamp_us is 0 after 0"),
    "times unsorted": (
        replaced("poses.csv", "a,0", "a,150000"),
        "line 3: timestamp_us is 100000 after 150000",
    ),
    "time in seconds": (
        replaced("poses.csv", "b,100000", "b,0.1"),
        "line 3: timestamp_us is '0.1', expected whole",
    ),
    "pose twice": (replaced("poses.csv", "b,", "a,"), "names a cloud twice"),
    "a cloud without a pose": (
        replaced("poses.csv", "b,", ","),
        "has no row for cloud 'b', in all for 1 of 3",
    ),
    "pose above the folder": (replaced("poses.csv", "b,", "../b,"), r"has the name '../b', expected"),
    "absolute pose": (replaced("poses.csv", "b,", "/b,"), "has the name '/b', expected"),
    "pose no rotation": (
        replaced("poses.csv", "1,0,0,0\nb", "0,0,0,0\nb"),
        "line 2: expected finite numbers and",
    ),
    "pose NaN": (replaced("poses.csv", "b,100000,1", "b,100000,nan"), "line 3: expected finite numbers"),
    "pose in words": (replaced("poses.csv", "b,100000,1", "b,100000,one"), "something that is no number"),
    "image of no camera": (replaced("images.csv", "front,b", "rear,b"), "line 3: camera 'rear' is not in"),
    "image time twice": (
        replaced("images.csv", "front,b", "front,a"),
        "line 3: image 'a' of front is listed twice",
    ),
    "image without time": (
        replaced("images.csv", "front,b", "front,d"),
        "tells no time of image 'b' of front",
    ),
    "image above the folder": (replaced("images.csv", "front,b", "front,../b"), "has the name '../b'"),
    "image before all poses": (
        replaced("poses.csv", "a,0,", ",0,0,0,0,1,0,0,0\na,50000,"),
        None,  # still within reach
    ),
    "image long after all poses": (
        replaced("images.csv", "front,a,20000", "front,a,900000"),
        "sample a: .*tells no pose for the moment 900000 us",
    ),
    "no classes": (lambda log: (log / "classes.json").unlink(), "classes.json is missing"),
    "no class": (replaced("classes.json", '"name": "tree"', '"nam": "tree"'), r"classes\[1\] lacks name"),
    "class twice": (replaced("classes.json", "tree", "car"), "needs distinct class names"),
    "prompt of two": (replaced("classes.json", "tree", "van"), "the same prompt 'van'"),
    "id of two": (replaced("classes.json", "[2]", "[3]"), "gives an id to two classes"),
    "id negative": (
        replaced("classes.json", "[2]", "[-2]"),
        r"classes\[1\].ids\[0\] should be at least 0, got -2",
    ),
    "splits a list": (
        lambda log: write(log, "splits.json", []),
        "splits.json: the file should be of type object",
    ),
    "split of no clouds": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": []}}),
        "splits.train should have at least 1 entries, got 0",
    ),
    "split above the folder": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": ["../a"]}}),
        r"splits.train\[0\] should match",
    ),
    "split of other clouds": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": ["d"]}}),
        "split 'train' lists 'd', which is no cloud",
    ),
    "split twice": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": ["a", "a"]}}),
        "split 'train' lists a cloud twice",
    ),
}


def read_everything(log):
    dataset = DriveLog(log, sweeps=2)
    for number in range(len(dataset)):
        sample = dataset[number]
        for view in range(len(sample.cameras)):
            sample.read_image(view)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_sentence(log, fault):
    spoil, message = FAULTS[fault]
    read_everything(log)
    spoil(log)
    if message is None:
        return read_everything(log)
    with pytest.raises(ValueError, match=message) as caught:
        read_everything(log)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["calibration.json", "classes.json", "splits.json", "poses.csv", "images.csv"]
)
def test_a_damaged_file_is_refused_or_read_but_never_crashes(log, name):
    write(log, "splits.json", {**HEADER, "splits": {"train": list(NAMES)}})
    whole = (log / name).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for attempt in range(60):
        damaged = bytearray(whole[: rng.integers(len(whole))] if attempt % 2 else whole)
        for place in rng.integers(len(damaged), size=2) if attempt % 2 == 0 else ():
            damaged[place] ^= 1 << rng.integers(8)
        (log / name).write_bytes(bytes(damaged))
        try:
            read_everything(log)
        except ValueError as error:
            refused += 1
            assert name in str(error) or "calibration" in str(error) or "sample" in str(error), error
    assert refused > 25


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "milliseconds"), (1e-6, "seconds")])
def test_times_in_another_unit_are_refused_by_its_name(log, factor, unit):
    (log / "images.csv").unlink()
    first, *rows = (log / "poses.csv").read_text().splitlines()
    rows = [row.split(",") for row in rows]
    for number, row in enumerate(rows):
        row[1] = str(round((1_700_000_000_000_000 + 3_000_000 * number) * factor))
    write(log, "poses.csv", "\n".join([first, *map(",".join, rows)]))
    with pytest.raises(ValueError, match=rf"poses\.csv: clouds follow each other by .* in {unit}, not"):
        DriveLog(log)


def test_a_place_that_no_vehicle_reaches_is_named_by_line_and_cloud(log):
    write(log, "poses.csv", (log / "poses.csv").read_text().replace("200000,2,0,0", "200000,2002,0,0"))
    fault = r"poses\.csv, line 4, cloud c\.5: the vehicle is 2001 m .* 20010 m/s; does another drive begin"
    with pytest.raises(ValueError, match=fault):
        DriveLog(log)
    write(log, "poses.csv", (log / "poses.csv").read_text().replace("200000,2002", "5200000,2002"))
    (log / "images.csv").unlink()
    assert DriveLog(log).timestamps(2).drive == "log-2", "after a gap, another drive may begin anywhere"


def test_places_that_are_no_metres_are_told_so(log):
    text = (log / "poses.csv").read_text()
    write(log, "poses.csv", text.replace("100000,1,", "100000,1000,").replace("200000,2,", "200000,2000,"))
    with pytest.raises(ValueError, match=r"are places in metres\?"):
        DriveLog(log)


@pytest.mark.parametrize(
    ("by_us", "why"), [(3_600_000_000, "A time zone"), (1_700_000_000_000_000, "One counts from 1970")]
)
def test_image_clocks_that_differ_are_refused_with_the_cause(log, by_us, why):
    first, *rows = (log / "images.csv").read_text().splitlines()
    rows = [row.rpartition(",") for row in rows]
    write(log, "images.csv", "\n".join([first, *(f"{a},{int(t) + by_us}" for a, _, t in rows)]))
    with pytest.raises(ValueError, match=rf"images\.csv: images of front are .* later than .* {why}"):
        DriveLog(log)
