"""Every setting of `manycore map`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from . import values
from .facts import parse_all, setting


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """How `manycore map` runs. Values may be given as text, as in a file, or ready.

    Raises:
        SettingsError: For the first value that is wrong; `where` is the argument's name.

    Example:
        >>> MapSettings(timeout="30").timeout
        30.0
    """

    section: ClassVar[str] = "map"

    input: str = setting(
        "-",
        values.text,
        "-i",
        "--input",
        metavar="FILE|-|GLOB",
        remedy="give a file, - for standard input, or a pattern as 'images/*.png'",
        topic="What is read and written",
        text="Where the items come from: the lines of a file, - for the lines of standard input, "
        "or a pattern in quotes: then each path that it finds is an item, in order of the names.",
    )
    items: str = setting(
        "text",
        values.one_of("text", "json"),
        "--items",
        metavar="text|json",
        remedy="give text or json",
        topic="What is read and written",
        text="What the function is called with: the line as text, without its end, or the value "
        "that the line is as JSON.",
    )
    output: str = setting(
        "-",
        values.text,
        "-o",
        "--output",
        metavar="FILE|-",
        remedy="give a file, or - for standard output",
        topic="What is read and written",
        text="Where the results go, a line of JSON for each item; - is standard output. A file "
        "is written anew by every run.",
    )
    unordered: bool = setting(
        False,
        values.switch,
        "--unordered",
        metavar="",
        switch=True,
        remedy="give yes or no",
        topic="What is read and written",
        text="Write results as they come. Otherwise they come in the order of the items, and "
        "what is done early waits for its turn.",
    )
    journal: str = setting(
        "",
        str,
        "--journal",
        metavar="FILE",
        remedy="give a file",
        topic="What is read and written",
        text="Where what is done is written down at once. The same command, run again after "
        "whatever ended it, does only what is missing.",
    )
    workers: int = setting(
        "auto",
        values.workers,
        "-w",
        "--workers",
        metavar="N|auto",
        remedy="give a whole number from 1, or auto",
        topic="Work",
        text="How many worker processes. auto: one for each CPU that this process may use.",
    )
    timeout: float | None = setting(
        "none",
        values.limit,
        "--timeout",
        metavar="SECONDS|none",
        remedy="give a number of seconds above 0, or none",
        topic="Work",
        text="How long an item may take. Then TaskTimeout is raised inside the function, and "
        "half a second later its worker is killed if that did not help.",
    )
    retries: int = setting(
        0,
        values.whole(0, 1_000_000),
        "--retries",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Work",
        text="How often an item that failed is tried again: one that raised, took too long, or "
        "whose worker died.",
    )
    quiet: bool = setting(
        False,
        values.switch,
        "-q",
        "--quiet",
        metavar="",
        switch=True,
        remedy="give yes or no",
        topic="Work",
        text="Show no progress; NO_COLOR in the environment does the same.",
    )

    def __post_init__(self) -> None:
        parse_all(self)
