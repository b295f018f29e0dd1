"""Rows of samples as Parquet, for tools that query them."""

import io
from collections.abc import Sequence
from importlib.util import find_spec

from clip2scene.inference.fleet.label import Row, labels_name
from clip2scene.io import in_a_sentence
from clip2scene.io.reading import refuse_bomb

POINTS_OF = "points_"
"""What the name of a column begins with that counts the points of a class; those of none are in
``points_none``."""


def check_library() -> None:
    """Refuse to begin without the library.

    Raises:
        ValueError: If it is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ValueError("the rows of samples need the library pyarrow; install clip2scene[fleet]")


def column_of(name: str) -> str:
    """Name the column of a class.

    Example:
        >>> column_of("traffic sign")
        'points_traffic_sign'
    """
    return POINTS_OF + "_".join(name.split())


def columns_of(classes: Sequence[str]) -> list[str]:
    """Name the columns of classes, and last that of points without a label; all different.

    Example:
        >>> columns_of(["car", "none"])
        ['points_car', 'points_none_2', 'points_none']
    """
    taken = [column_of("none")]
    for name in classes:
        plain = column_of(name)
        number, free = 2, plain
        while free in taken:
            free, number = f"{plain}_{number}", number + 1
        taken.append(free)
    return [*taken[1:], taken[0]]


def table_of(rows: Sequence[Row], classes: Sequence[str]) -> bytes:
    """Write rows as a Parquet file.

    Args:
        rows: One a sample.
        classes: The classes that points have.
    """
    import pyarrow as pa
    from pyarrow import parquet

    counts = [pa.field(name, pa.int64()) for name in columns_of(classes)]
    fields = [
        pa.field("token", pa.string(), nullable=False),
        pa.field("scene", pa.string(), nullable=False),
        pa.field("timestamp_us", pa.int64()),
        pa.field("points", pa.int64()),
        *counts,
        pa.field("mean_confidence", pa.float64()),
        pa.field("share_below_half", pa.float64()),
        pa.field("labels", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("seconds", pa.float64()),
        pa.field("worker", pa.string()),
        pa.field("error", pa.string()),
    ]
    empty = (None,) * len(counts)
    told = [
        (
            *(row.token, row.scene, row.timestamp_us, row.points, *(row.by_class or empty)),
            *(row.mean_confidence, row.below_half, None if row.error else labels_name(row.token)),
            *(row.sha256, row.seconds, row.worker, row.error),
        )
        for row in rows
    ]
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*told, strict=True), fields, strict=True)
    ]
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(columns, schema=pa.schema(fields)), stream, compression="zstd")
    return stream.getvalue()


def read_rows(table: bytes) -> list[tuple[int | None, str | None, str | None]]:
    """Read points, worker and error of each row of what :func:`table_of` wrote.

    Raises:
        ValueError: If it is something else, or damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        told = parquet.ParquetFile(io.BytesIO(table))
        groups = map(told.metadata.row_group, range(told.metadata.num_row_groups))
        refuse_bomb(len(table), max(told.metadata.num_rows, sum(each.total_byte_size for each in groups)))
        found = told.read(columns=["points", "worker", "error"])
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"the rows of a part cannot be read ({in_a_sentence(error)}); remove it") from None
