"""What a command tells its user beside its answer."""

import sys


def note(sentence: str) -> None:
    """Say something that a user should know, on a line of its own."""
    print(f"note: {sentence}", file=sys.stderr)
