"""Commands as one of several processes that ``torchrun`` has started."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

TOGETHER = ("pretrain", "finetune", "evaluate")
"""Commands that several processes do together."""


@contextmanager
def as_one_of_ranks(command: str) -> Iterator[None]:
    """Do a command in the block together with the other ranks, if ``torchrun`` has started several.

    The first one prints; and of a mistake, whoever notices it first.

    Args:
        command: Its name.

    Raises:
        ValueError: If it is none that several processes can do; or what the block raises, named by the rank.
        SystemExit: On ranks whose message another has told.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    from clip2scene.ranks import RanksError, joined

    with joined() as ranks:
        try:
            if command not in TOGETHER:
                raise RanksError(
                    f"{command} is done by one process, and {ranks.size} were started; start it without "
                    f"torchrun ({', '.join(TOGETHER)} are what several do together)"
                )
            with ExitStack() as quiet:
                if not ranks.leads:
                    quiet.enter_context(redirect_stdout(io.StringIO()))
                    quiet.enter_context(redirect_stderr(io.StringIO()))
                yield
        except (ValueError, OSError) as error:
            if not ranks.speaks_first():
                sys.exit(1)
            if isinstance(error, RanksError):
                raise
            raise ValueError(f"{ranks.name}: {error}") from None
        except KeyboardInterrupt:
            if ranks.leads:
                raise
            sys.exit(130)
