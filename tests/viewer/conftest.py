import pytest

from clip2scene.runs.run import open_run
from clip2scene.viewer.answers import Answerer
from clip2scene.viewer.session import Session
from clip2scene.viewer.source import open_split


@pytest.fixture(scope="session")
def opened(tiny_run):
    return open_run(tiny_run)


@pytest.fixture(scope="session")
def source(opened, tiny_toytown):
    return open_split(opened, tiny_toytown, "val")


@pytest.fixture(scope="session")
def answerer(opened):
    """It keeps what it answered for any test."""
    return Answerer(opened)


@pytest.fixture
def session(source, answerer):
    return Session(source, [answerer])
