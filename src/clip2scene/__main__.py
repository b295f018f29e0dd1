"""``python -m clip2scene``: the command line, for ``torchrun -m`` too."""

from clip2scene.cli import main

if __name__ == "__main__":
    main()
