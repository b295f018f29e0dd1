"""How a function becomes a command: its arguments are options, its docstring is the help."""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints


@dataclass(frozen=True)
class Command:
    """A command and the function that does its work.

    Attributes:
        function: It, or where it stands, as in ``clip2scene.training.train:pretrain``, which is imported when
            the command is called.
        say: Turns its result and its arguments into what is printed; None for a function that prints itself.
        positional: Arguments that are given by their place, not by an option.
        types: What an argument is on the command line, where that differs from the function's own.
        fixed: Arguments that are no options, and what they are.
        described_in: Functions and classes whose docstrings describe arguments that this one's leaves out.
    """

    function: str | Callable[..., Any]
    say: Callable[..., str] | None = None
    positional: tuple[str, ...] = ()
    types: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    described_in: tuple[str, ...] = ()

    def summary(self) -> str:
        """Give the first line of the docstring, read off the source: nothing is imported."""
        if callable(self.function):
            return (inspect.getdoc(self.function) or "").splitlines()[0]
        module, name = self.function.split(":")
        path = Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return (ast.get_docstring(node) or "").splitlines()[0]
        raise AssertionError(f"{self.function} is not there")

    def as_function(self, kinds: Mapping[Any, Any]) -> Callable[..., None]:
        """Make the function that a parser of the command line reads and calls.

        Args:
            kinds: What stands on the command line for an argument of a type.
        """
        import tyro

        function = _find(self.function)
        hints = {**get_type_hints(function, include_extras=True), **self.types}
        parameters = []
        for name, parameter in inspect.signature(function).parameters.items():
            if name not in self.fixed:
                hint: Any = kinds.get(hints[name], hints[name])
                marked = Annotated[hint, tyro.conf.Positional] if name in self.positional else hint
                parameters.append(parameter.replace(annotation=marked))

        run: Any = lambda **arguments: self._call(function, arguments)  # noqa: E731 - nothing may wrap it
        run.__name__ = function.__name__
        run.__doc__ = _plain(inspect.getdoc(function) or "")
        others: dict[str, list[str]] = {}
        for name in self.described_in:
            others = _arguments(_plain(inspect.getdoc(_find(name)) or "")) | others
        run.__doc__ = _describe(run.__doc__, [each.name for each in parameters], others)
        run.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    def _call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        """Call the function, and print what there is to say."""
        result = function(**arguments, **self.fixed)
        if self.say is not None:
            print(self.say(result, **arguments))


def _find(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """Import a function by its name."""
    if callable(function):
        return function
    module, name = function.split(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def _plain(text: str) -> str:
    """Take the marks of reStructuredText out of a docstring."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text)
    return text.replace("``", "")


def _arguments(text: str) -> dict[str, list[str]]:
    """Find the description of each argument in a docstring of Google's style, as lines."""
    found: dict[str, list[str]] = {}
    inside, name = False, ""
    for line in text.splitlines():
        if re.match(r"\w+:$", line):
            inside = line in ("Args:", "Attributes:")
        elif inside and (match := re.match(r"    (\w+): ", line)):
            name = match.group(1)
            found[name] = [line]
        elif inside and name and line.strip():
            found[name].append(line)
    return found


def _describe(text: str, names: Iterable[str], others: Mapping[str, list[str]]) -> str:
    """Add the descriptions of arguments that a docstring leaves out."""
    own = _arguments(text)
    described = [line for name in names for line in own.get(name, others.get(name, []))]
    head = re.split(r"^(?:Args|Returns|Raises):$", text, maxsplit=1, flags=re.MULTILINE)[0].rstrip()
    return "\n".join([head, "", "Args:", *described])
