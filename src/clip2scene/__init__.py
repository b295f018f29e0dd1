"""Teach a 3D network to see in words, without 3D labels.

The public names are listed in ``__init__.pyi``, where editors and type checkers find them; each is imported
when it is first asked for, so that importing the package is fast (SPEC 1 of scientific Python).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
