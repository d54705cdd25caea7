"""What a command tells at its end."""

from typing import Any, NamedTuple

ERROR, SOME_FLAGGED = 2, 3  # exit statuses; 3 also if some inputs got through


class Outcome(NamedTuple):
    """The result of a command.

    Attributes:
        sentence: For people.
        summary: The same for programs, to be printed as JSON.
        status: The exit status.
    """

    sentence: str
    summary: dict[str, Any]
    status: int = 0
