"""The command: open a run and its samples, and serve the page until it is interrupted."""

import errno
import getpass
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from clip2scene.datasets.clouds import CloudOptions, Unit
from clip2scene.runs.run import open_run
from clip2scene.viewer.answers import Answerer, require_same_classes
from clip2scene.viewer.session import MOST_POINTS, Session
from clip2scene.viewer.source import open_files, open_split

_log = logging.getLogger(__name__)


def view(  # noqa: PLR0913 - what a user may ask of the command
    run: Path,
    clouds: tuple[Path, ...] = (),
    *,
    data_root: Path | None = None,
    split: str = "val",
    against: Path | None = None,
    words: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    most_points: int = MOST_POINTS,
    axes: str | None = None,
    unit: Unit | None = None,
    intensity: str | None = None,
    intensity_max: float | None = None,
    columns: str | None = None,
    announce: Callable[[str], None] = _log.info,
) -> None:
    """Look at what a run says of clouds, in a browser.

    Args:
        run: Folder of the run; or builtin, the student in the package.
        clouds: Files that :func:`clip2scene.datasets.clouds.read_cloud` reads.
        data_root: A data set, in place of single files.
        split: Which of its splits.
        against: A second run of the same classes, to be looked at beside the first.
        words: A table of text embeddings to take phrases from, instead of the run's text encoder.
        host: The address to listen at; 0.0.0.0 lets any machine of the network look.
        port: The port to listen at.
        most_points: Points of a cloud that are shown; of larger ones, so many are drawn at random.
        axes: Where x, y and z of the files point: three of F B L R U D, such as FLU or RFU.
        unit: The unit of their coordinates; metres if left out.
        intensity: The field that is the intensity, or none to leave it out.
        intensity_max: The intensity that becomes 1.
        columns: Names of the numbers of a point in files without names, such as x,y,z,intensity,_;
            an _ is passed over.
        announce: Takes what is to be told at the start.

    Raises:
        ValueError: If viser is not installed, the port is taken, or the runs or the clouds cannot be opened.
    """
    require_viser()
    require_free(host, port)
    named = None if columns is None else tuple(name.strip() for name in columns.split(","))
    options = CloudOptions(axes, unit, intensity, intensity_max, named)
    session = open_session(
        run,
        clouds,
        data_root=data_root,
        split=split,
        against=against,
        words=words,
        most_points=most_points,
        options=options,
    )
    session.scene(0)  # what cannot be read is told here, not on the page
    from clip2scene.viewer.page import Page

    page = Page(session, host=host, port=port)
    announce(address(host, port))
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        announce("closed the page")
    finally:
        page.stop()


def open_session(
    run: Path,
    clouds: Sequence[Path] = (),
    *,
    data_root: Path | None = None,
    split: str = "val",
    against: Path | None = None,
    words: Path | None = None,
    most_points: int = MOST_POINTS,
    options: CloudOptions = CloudOptions(),  # noqa: B008 - frozen
) -> Session:
    """Open what a page shows; arguments and errors are those of :func:`view`."""
    if bool(clouds) == (data_root is not None):
        raise ValueError(
            "there is nothing to look at: name a data set by --data-root, or cloud files after the run"
            if data_root is None
            else "got both cloud files and --data-root; name one of them"
        )
    opened = [open_run(each) for each in (run, against) if each is not None]
    for other in opened[1:]:
        require_same_classes(opened[0], other)
    if data_root is None:
        source = open_files(opened[0], clouds, options)
    else:
        source = open_split(opened[0], data_root, split)
    answerers = [Answerer(each, words=words) for each in opened]
    return Session(source, answerers, most_points=most_points)


def address(host: str, port: int) -> str:
    """Say where the page is, from this machine and from another one."""
    local = f"http://localhost:{port}"
    if host not in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):
        return f"look at http://{host}:{port} (Ctrl-C closes it)"
    return (
        f"look at {local} (Ctrl-C closes it)\n"
        f"from another machine: ssh -L {port}:localhost:{port} {getpass.getuser()}@{socket.gethostname()}, "
        f"then look at {local} there"
    )


def require_viser() -> None:
    """Refuse to go on without the library that serves the page.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import viser  # noqa: F401 - late: an optional dependency, and slow to import
    except ImportError:
        raise ValueError(
            "the page needs the library viser; install it by pip install 'clip2scene[viewer]'"
        ) from None


def require_free(host: str, port: int) -> None:
    """Refuse an address that cannot be listened at.

    Raises:
        ValueError: If the port is in use or is none, or the host is none of this machine's.
    """
    if not 0 < port < 65536:
        raise ValueError(f"--port is {port}, expected 1 to 65535; name another")
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} is in use; close what uses it, or name another --port") from None
        raise ValueError(f"cannot listen at {host}:{port} ({error}); name another --host or --port") from None
