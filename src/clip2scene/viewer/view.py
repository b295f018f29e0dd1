"""The command: open a run and its samples, and serve the page until it is interrupted."""

import errno
import getpass
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clip2scene.datasets.clouds import CloudOptions, Unit
from clip2scene.inference.rank_scenes import read_ranking
from clip2scene.parallel import file_lock
from clip2scene.runs.run import open_run
from clip2scene.viewer.answers import Answerer, require_same_classes
from clip2scene.viewer.corrections import LOCK, Corrections
from clip2scene.viewer.session import MOST_POINTS, Session
from clip2scene.viewer.source import Source, open_files, open_split

_log = logging.getLogger(__name__)


def view(  # noqa: PLR0913 - what a user may ask of the command
    run: Path,
    clouds: tuple[Path, ...] = (),
    *,
    data_root: Path | None = None,
    split: str | None = None,
    against: Path | None = None,
    words: Path | None = None,
    corrections: Path | None = None,
    order: Path | None = None,
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
        split: Which of its splits; by default val, or train where labels are given.
        against: A second run of the same classes, to be looked at beside the first.
        words: A table of text embeddings to take phrases from, instead of the run's text encoder.
        corrections: Folder for labels that you give to points (docs/corrections.md), which finetune takes; a
            new one, or one to go on with.
        order: File of a ranking: what rank-scenes wrote says which sample is labelled next.
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
    with ExitStack() as stack:
        read_only = "" if corrections is None or data_root is None else stack.enter_context(lock(corrections))
        session = open_session(
            run,
            clouds,
            data_root=data_root,
            split=split,
            against=against,
            words=words,
            most_points=most_points,
            options=options,
            corrections=corrections,
            order=order,
            read_only=read_only,
        )
        first = session.next_to_label() or 0
        session.scene(first)  # what cannot be read is told here, not on the page
        from clip2scene.viewer.page import Page

        page = Page(session, host=host, port=port)
        stack.callback(page.stop)
        if read_only:
            announce(f"note: {read_only}")
        announce(address(host, port))
        _serve(session.corrections, announce)


def _serve(corrections: Corrections | None, announce: Callable[[str], None]) -> None:
    """Wait until the user interrupts; where labels are not saved, until this was done twice."""
    warned = False
    while True:
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            trouble = "" if corrections is None else corrections.save()
            if not trouble or warned:
                announce("closed the page")
                return
            announce(f"{trouble}. Ctrl-C once more closes the page all the same")
            warned = True


@contextmanager
def lock(folder: Path) -> Iterator[str]:
    """Keep other viewers from giving labels in a folder.

    Args:
        folder: Of the labels by hand.

    Yields:
        Why labels may not be given here, as another viewer is about it; empty if they may be.

    Raises:
        ValueError: If the folder cannot be written to.
    """
    with ExitStack() as stack:
        busy = ""
        try:
            stack.enter_context(file_lock(folder / LOCK, wait=False))
        except ValueError:
            busy = (
                f"another viewer gives labels in {folder}, so here they are looked at alone; close that one "
                "and begin again to label, or name another --corrections"
            )
        except OSError as error:
            raise ValueError(
                f"labels cannot be written to {folder} ({error.strerror}); name another --corrections"
            ) from None
        yield busy


def open_session(  # noqa: PLR0913 - as view
    run: Path,
    clouds: Sequence[Path] = (),
    *,
    data_root: Path | None = None,
    split: str | None = None,
    against: Path | None = None,
    words: Path | None = None,
    most_points: int = MOST_POINTS,
    options: CloudOptions = CloudOptions(),  # noqa: B008 - frozen
    corrections: Path | None = None,
    order: Path | None = None,
    read_only: str = "",
) -> Session:
    """Open what a page shows; arguments and errors are those of :func:`view`."""
    if bool(clouds) == (data_root is not None):
        raise ValueError(
            "there is nothing to look at: name a data set by --data-root, or cloud files after the run"
            if data_root is None
            else "got both cloud files and --data-root; name one of them"
        )
    if data_root is None and (corrections is not None or order is not None):
        raise ValueError(
            f"{'--order' if corrections is None else '--corrections'} goes by the names of a data set's "
            "samples, which single clouds do not have; name their data set by --data-root"
        )
    opened = [open_run(each) for each in (run, against) if each is not None]
    for other in opened[1:]:
        require_same_classes(opened[0], other)
    if data_root is None:
        source = open_files(opened[0], clouds, options)
    else:
        split = split or ("val" if corrections is None else "train")
        source = open_split(opened[0], data_root, split)
    by_hand = None
    if corrections is not None and source.label_classes is not None:
        by_hand = Corrections(corrections, source.label_classes, read_only=read_only)
    return Session(
        source,
        [Answerer(each, words=words) for each in opened],
        most_points=most_points,
        corrections=by_hand,
        order=() if order is None else order_of(source, order),
    )


def order_of(source: Source, path: Path) -> list[int]:
    """Give the numbers of samples in the order of a ranking; those that it does not name come last.

    Raises:
        ValueError: If the file is no ranking, or one of other samples.
    """
    by, names = read_ranking(path)
    units = [source.scene_of(token) if by == "scene" else token for token in source.tokens]
    place = {name: number for number, name in enumerate(names)}
    if not place.keys() & set(units):
        raise ValueError(
            f"{path} ranks no {by} of the split {source.split!r}, such as {units[0]}; rank the split that is "
            "to be labelled (clip2scene rank-scenes --split), or name that one as --split"
        )
    return sorted(range(len(units)), key=lambda number: place.get(units[number], len(place)))


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
        ValueError: If it is not installed, or older than the page is written for.
    """
    try:
        import viser  # late: an optional dependency, and slow to import
    except ImportError:
        raise ValueError(
            "the page needs the library viser; install it by pip install 'clip2scene[viewer]'"
        ) from None
    if not hasattr(viser.GuiApi, "main_panel"):
        raise ValueError(
            f"the page needs viser 1.1 or newer, got {viser.__version__}; install clip2scene[viewer] in an "
            "environment of its own, without py123d, which wants 1.0.24"
        )


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
