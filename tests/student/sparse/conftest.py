import pytest
import torch

from clip2scene.student.sparse import conv, cpu_kernels


@pytest.fixture(params=["plain torch", "compiled"])
def path(request, monkeypatch):
    """Run a test on both paths; the compiled one is skipped where there is no C compiler."""
    monkeypatch.setattr(cpu_kernels, "switched_on", request.param == "compiled")
    if request.param == "compiled" and not cpu_kernels.usable(torch.zeros(1, 16), 16):
        pytest.skip("no C compiler here")
    monkeypatch.setattr(conv, "compiled_wins", lambda *work: True)
    return request.param
