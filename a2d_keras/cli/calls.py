"""Names with parameters, such as `BIM(eps_iter=0.005)`. Nothing here imports TensorFlow."""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A class that was named, and what its constructor is given.

    Attributes:
        name: The name.
        parameters: The keyword arguments, literals.
    """

    name: str
    parameters: dict[str, Any]

    def made(self, registry: Mapping[str, Callable[..., Any]]) -> Any:
        """Make the object.

        Args:
            registry: The classes by their names.

        Returns:
            The object.

        Raises:
            ValueError: If the constructor does not take the parameters.
        """
        try:
            return registry[self.name](**self.parameters)
        except TypeError as error:
            raise ValueError(
                f"{self.name} does not take these parameters, or needs others. "
                f"Received: {self.name}({self._listed()}): {error}"
            ) from error

    def _listed(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())


def parse(text: str, names: Sequence[str]) -> Call:
    """Read a name, alone or with parameters in parentheses. Nothing is executed.

    Args:
        text: Such as `BIM` or `BIM(eps_iter=0.005)`; the values are literals of Python.
        names: The names that are known.

    Returns:
        The `Call`.

    Raises:
        ValueError: If it is written in another way, or the name is not known.

    Examples:
        >>> parse("BIM(eps_iter=0.005)", ["BIM", "FGSM"])
        Call(name='BIM', parameters={'eps_iter': 0.005})
    """
    call = _read(text)
    if call is None:
        raise ValueError(
            "must be a name, alone or with parameters such as BIM(eps_iter=0.005), whose values "
            f"are numbers, words in quotes, True, False or None. Received: {text}"
        )
    if call.name not in names:
        raise ValueError(f"must be one of {', '.join(names)}. Received: {call.name}")
    return call


def _read(text: str) -> Call | None:
    try:
        body = ast.parse(text.strip(), mode="eval").body
        if isinstance(body, ast.Name):
            return Call(body.id, {})
        if not isinstance(body, ast.Call) or not isinstance(body.func, ast.Name) or body.args:
            return None
        given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in body.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    named = {name: value for name, value in given.items() if name is not None}
    return Call(body.func.id, named) if len(named) == len(body.keywords) else None
