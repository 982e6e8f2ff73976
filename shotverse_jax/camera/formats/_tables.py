"""Text files with one line of numbers a frame: how their lines are taken apart."""

import dataclasses
import re

import numpy as np

from shotverse_jax.camera.formats import _common as common

SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")


@dataclasses.dataclass(frozen=True)
class Table:
    """The lines of a text file.

    Attributes:
        heading: the lines above the numbers that are no comments (a URL, a caption, names of columns), in order.
        comment: the last comment ("#") above the numbers, without its sign; "" where there is none.
        rows: ("line 7", its words) for each line of numbers.
    """

    heading: tuple[str, ...]
    comment: str
    rows: list[tuple[str, list[str]]]

    @property
    def columns(self) -> int:
        """Words of the first line of numbers; 0 where there is none."""
        return len(self.rows[0][1]) if self.rows else 0

    @property
    def names(self) -> list[str]:
        """What the file says its columns are: the words of its heading, else of its comment, in lower case."""
        return words((self.heading[-1] if self.heading else self.comment).lower())

    def numbers(self, columns: int, meaning: str, pose: slice) -> np.ndarray:
        """Returns the rows as float64 [N, columns].

        `meaning` names the columns in error messages. The columns `pose` may hold NaN or infinity, where a camera was
        lost.

        Raises:
            ValueError: there are no rows, or one is not that many numbers.
        """
        values, free = [], range(columns)[pose]
        for where, row in self.rows:
            if len(row) != columns:
                raise ValueError(f"{where}: expected {columns} numbers ({meaning}), got {len(row)} words")
            values.append([common.number(word, where, lost=column in free) for column, word in enumerate(row)])
        if not values:
            raise ValueError(f"no poses: expected lines of {columns} numbers ({meaning})")
        return np.array(values, np.float64)


def read_table(text: str) -> Table:
    """Takes the text of a file apart; blanks, tabs, commas and semicolons stand between words."""
    lines = common.data_lines(text, comments=False)
    heading, comment = [], ""
    start = 0
    for _, line in lines:
        if line.startswith("#"):
            comment = line.lstrip("# ")
        elif is_row(line):
            break
        else:
            heading.append(line)
        start += 1
    rows = [(where, words(line)) for where, line in lines[start:] if not line.startswith("#")]
    return Table(tuple(heading), comment, rows)


def words(line: str) -> list[str]:
    """Returns the words of a line; an empty cell between two commas is an empty word, one at the end is none."""
    parts = SEPARATOR.split(line.strip())
    return parts[:-1] if parts[-1] == "" else parts


def is_row(line: str) -> bool:
    """Returns whether a line is one of numbers: more than half of its words are.

    A caption may hold a number, and a damaged line of numbers is still one: it is refused later, by its number.
    """
    parts = words(line)
    return 2 * sum(is_number(part) for part in parts) > len(parts)


def is_number(word: str) -> bool:
    """Returns whether a word is a number, NaN included."""
    try:
        float(word)
    except ValueError:
        return False
    return True
