import numpy as np
from tests.ros_bags import STORE, header

from clip2scene.datasets.convert.ros_bag import open_bag
from clip2scene.datasets.convert.ros_messages import columns_of
from clip2scene.datasets.convert.ros_writer import STRING, fields_of, lasting_qos, make_cloud, new_bag

TABLE = np.array(
    [(1.0, 7, 200), (2.0, 300, 0), (-3.0, 0, 1), (4.0, 1, 2)],
    np.dtype([("x", "<f4"), ("ring", "<u2"), ("kind", "u1")]),
)


def make(kind, **values):
    return STORE.types[kind](**values)


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    with new_bag(tmp_path / "bag") as bag:
        for time_ns in (5, 9):
            fields = fields_of(bag.make, TABLE.dtype)
            bag.write(
                "/cloud", time_ns, make_cloud(bag.make, header(time_ns, "lidar"), fields, TABLE, height=2)
            )
        bag.write("/said", 7, bag.make(STRING, data="words"))
    with open_bag(tmp_path / "bag" / "bag.mcap") as read:
        assert read.counts == {"/cloud": 2, "/said": 1}
        recorded = list(read.recorded(["/cloud"]))
    assert [time_ns for _, time_ns, _ in recorded] == [5, 9]
    message = recorded[1][2]
    assert (message.height, message.width, message.row_step) == (2, 2, 2 * message.point_step)
    for name, values in zip(TABLE.dtype.names, columns_of(message, TABLE.dtype.names, "/cloud"), strict=True):
        assert np.array_equal(values, TABLE[name])


def test_bytes_of_points_may_stand_for_a_table():
    rows = TABLE.view(np.uint8).reshape(4, -1)
    one, other = (make_cloud(make, header(1, "lidar"), [], each) for each in (TABLE, rows))
    assert np.array_equal(one.data, other.data) and one.point_step == other.point_step == 7


def test_fields_may_begin_within_a_point():
    assert [each.offset for each in fields_of(make, TABLE.dtype, 12)] == [12, 16, 18]


def test_the_quality_of_service_of_a_topic_is_kept(tmp_path):
    with new_bag(tmp_path / "bag") as bag:
        bag.write("/said", 1, bag.make(STRING, data="words"), qos=lasting_qos())
        bag.write("/else", 1, bag.make(STRING, data="words"))
    with open_bag(tmp_path / "bag") as read:
        assert read.qos("/said") == lasting_qos() and read.qos("/else") == []
