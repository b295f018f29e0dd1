import pytest
from tests import openai_clip


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """A file of each family, and the model it was made from."""
    folder = tmp_path_factory.mktemp("openai")
    made = {}
    for kind, sizes in openai_clip.TINY.items():
        model = openai_clip.make(**sizes)
        made[kind] = (openai_clip.save_archive(model, folder / f"{kind}.pt"), model)
    return made
