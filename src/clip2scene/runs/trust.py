"""Whose a run is: what a stranger's run names outside of its own folder is opened only if the user says so.

A run whose teacher is a model outside of its folder carries a seal: a keyed hash of that name, which only
this user's key on this machine can make. So own runs are used without a question, and others once
``trust-run`` has sealed them.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from clip2scene.runs.builtin import run_folder
from clip2scene.runs.sources import Sources


def with_seal(sources: Sources) -> Sources:
    """Seal what a run names, as a run of this user; without a folder to keep a key in, it stays unsealed."""
    key = _own_key(make=True)
    return sources if key is None else replace(sources, seal=_seal(sources, key))


def require_trust(folder: Path, sources: Sources) -> None:
    """Refuse to open the model that a stranger's run names.

    Args:
        folder: Of the run, for the message.
        sources: What it names.

    Raises:
        ValueError: If it names a model and was neither made by this user on this machine nor trusted since.
    """
    if not sources.models_elsewhere:
        return
    key = _own_key(make=False)
    if key is None or not hmac.compare_digest(sources.seal, _seal(sources, key)):
        raise ValueError(
            f"{folder} was not made by you on this machine, and asks to open {_spell(sources)}; if you "
            f"want that, say so once: clip2scene trust-run {folder}"
        )


def trust_run(run: Path) -> str:
    """Let a run from elsewhere open the models that its files name: a folder, or a download.

    Args:
        run: Folder of the run; ``sources.json`` in it names the models.

    Returns:
        What may be opened now.

    Raises:
        ValueError: If it is no run, or there is no place to keep a key in.
    """
    run = run_folder(run)
    sources = Sources.read(run)
    if not sources.models_elsewhere:
        return f"{run} names no model outside of its folder; there is nothing to trust"
    sealed = with_seal(sources)
    if not sealed.seal:
        raise ValueError(f"{_key_path()} cannot be written; set XDG_DATA_HOME to a folder of yours")
    sealed.write(run)
    return f"{run} may open {_spell(sources)} from now on"


def _spell(sources: Sources) -> str:
    """Name the models that are asked for."""
    named = {"model": sources.teacher_weights, "proxy": sources.proxy}
    spelt = [f"its teacher's {what} {where!r}" for what, where in named.items() if where]
    return " and ".join([*spelt, *(f"the teacher of run {where!r}" for where in sources.also)])


def _seal(sources: Sources, key: bytes) -> str:
    """Hash what is opened, and which content it must have, with a key."""
    named = f"{sources.teacher_weights}\n{sources.teacher_hash}"
    if sources.proxy is not None:
        named += f"\n{sources.proxy}\n{sources.proxy_hash}"
    if sources.also:
        named += "\n" + "\n".join(["also", *sources.also])
    return hmac.new(key, named.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _key_path() -> Path:
    own = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return own / "clip2scene" / "run-key"


def _own_key(*, make: bool) -> bytes | None:
    """Read this user's key, or make one; None if there is none, or no place for it."""
    path = _key_path()
    try:
        if make and not path.exists():
            _make_key(path)
        return path.read_bytes()
    except OSError:
        return None


def _make_key(path: Path) -> None:
    """Write a random key that only its user can read; of several processes, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        os.write(handle, secrets.token_bytes(32))
        os.fsync(handle)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.close(handle)
        Path(name).unlink()
