"""The one sentence of a bad setting."""


def require(condition: bool, what: str, got: object) -> None:
    """Refuse a setting unless it holds.

    Raises:
        ValueError: Saying what is wanted, and what was got.
    """
    if not condition:
        raise ValueError(f"{what}, got {got!r}; correct the recipe or the option of that name")
