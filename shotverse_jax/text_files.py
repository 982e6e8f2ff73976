"""Text files, tables and YAML as people save them: encodings, ends of lines, delimiters, keys given twice."""

import codecs
import csv
import io
import itertools
import re
from typing import Any, NamedTuple

import yaml

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMES = {"cp1252": "Windows-1252", "gb18030": "GB 18030", "cp932": "Shift JIS"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_DELIMITERS = (",", ";", "\t", "|")

MOST_CHARACTERS, MOST_VALUES = 1 << 20, 100_000
"""What a text that is read whole has at most; and the values of a YAML document, where each alias counts in full."""


_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, separators of lines, changes of direction, halves of characters."""


class Text(NamedTuple):
    """A text and what was assumed to read it.

    Attributes:
        text: the characters, without a byte order mark; lines end in a line feed.
        note: one sentence where the encoding was guessed, else "".
    """

    text: str
    note: str


class Table(NamedTuple):
    """A table with a header.

    Attributes:
        columns: names of the columns in lower case, blanks as "_".
        rows: (line of the file, cells) of every row that is not empty; a row may have more or fewer cells than columns.
    """

    columns: list[str]
    rows: list[tuple[int, list[str]]]


def printable(text: str) -> str:
    """Returns the text with control characters as escapes: names and captions could move a terminal's cursor."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain(text: str) -> str:
    """Returns the text with blanks in the place of control characters, for files and pictures that cannot hold them."""
    return _COMMANDS.sub(" ", text)


def decode(data: bytes) -> Text:
    """Returns the text of a file: UTF-8, UTF-16, UTF-32, Windows-1252, GB 18030 or Shift JIS.

    UTF-16 is recognised without a byte order mark too. An encoding of one or two bytes is guessed where the text is
    not UTF-8, and the note says which.

    Raises:
        ValueError: the bytes are no text.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None) or _wide(data) or "utf-8"
    note = ""
    try:
        text = data.decode(encoding)
    except UnicodeError:
        text, encoding = _guess(data)
        note = f"the text is not UTF-8 and was read as {_NAMES[encoding]}; save it as UTF-8 if letters are wrong"
    return Text(unix_lines(text), note)


def unix_lines(text: str) -> str:
    """Returns a text whose lines end in a line feed, whichever system it comes from, without a byte order mark."""
    return re.sub(r"\r\n?", "\n", text).removeprefix("\ufeff")


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: in most scripts one byte of every two is often zero, always the same one."""
    head = data[: 2 * (min(len(data), 4096) // 2)]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < 0.3 * len(head) / 2 or min(even, odd):
        return None
    return "utf-16-be" if even else "utf-16-le"


def _guess(data: bytes) -> tuple[str, str]:
    """(text, encoding) of bytes that are not UTF-8."""
    for encoding, usual in (("cp932", "\u3041-\u30ff"), ("gb18030", "\u4e00-\u9fff")):
        try:
            text = data.decode(encoding)
        except UnicodeError:
            continue
        wide = re.findall(r"[^\x00-\x7f]", text)
        here = re.findall(rf"[{usual}]", text)
        # Japanese has kana everywhere; Chinese has few characters beyond the 3755 most common ones. Words of Western
        # languages, read so, give neither.
        common = here if encoding == "cp932" else [c for c in here if _is_common(c)]
        if len(common) > 0.3 * len(wide) and len(wide) > 1 and not _lonely(data):
            return text, encoding
    try:
        text = data.decode("cp1252")
    except UnicodeError as error:
        raise ValueError("it is no text in UTF-8, UTF-16 or Windows-1252") from error
    if _CONTROL.search(text):
        raise ValueError("it is no text in UTF-8, UTF-16 or Windows-1252")
    return text, "cp1252"


def _is_common(character: str) -> bool:
    """Whether a character is of the first level of GB 2312."""
    code = character.encode("gb2312", "ignore")
    return bool(code) and 0xB0 <= code[0] <= 0xD7


def _lonely(data: bytes) -> bool:
    """Whether most bytes beyond ASCII stand between letters of ASCII, as in Western languages."""
    high = len(re.findall(rb"[\x80-\xff]", data))
    return len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", data)) > high / 2


def read_table(text: str) -> Table:
    """Reads a table of columns between commas, semicolons, tabs or bars, whichever its header has most of.

    Names of columns are compared without regard to case and blanks; blanks around cells are left out.

    Raises:
        ValueError: the header is missing or names a column twice, or quotes do not end.
    """
    lines = unix_lines(text).lstrip("\n")
    told = re.match(r"sep=(.)\n", lines)  # Excel's own first line
    lines = lines[told.end() :] if told else lines
    head = re.sub(r'"[^"]*"', "", lines.split("\n", 1)[0])
    delimiter = told[1] if told else max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    skipped = text.count("\n") - lines.count("\n")
    try:
        rows = [(reader.line_num + max(skipped, 0), [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        raise ValueError("the table is empty; its first line names the columns")
    columns = [column_name(cell) for cell in rows[0][1]]
    while columns and not columns[-1]:
        columns.pop()  # a line that ends in a delimiter
    if twice := next((name for i, name in enumerate(columns) if name and name in columns[:i]), None):
        raise ValueError(f"the column {twice!r} is there twice; keep one")
    return Table(columns, rows[1:])


def column_name(text: str) -> str:
    """Returns the name of a column as it is compared: in lower case, with "_" for blanks and dashes."""
    return re.sub(r"[\s\-_]+", "_", text.strip().casefold()).strip("_")


# ------------------------------------------------------------------------------------------------------------ YAML


# The parser in C takes a tenth of the time of the one in Python, which would need ten seconds for a megabyte.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Refuses a key given twice, of which YAML itself keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Checks the keys, then reads the mapping."""
        keys = (key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge")
        unique([(self.construct_object(key, deep=True), None) for key in keys])
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)  # a date is words


def read_yaml(text: str, what: str = "this") -> Any:
    """Returns the plain value in a YAML document: mappings, lists, texts (dates too), numbers, true, false and null.

    what: what the document is, for messages.

    Raises:
        ValueError: it is not valid YAML, gives a key twice, holds itself, or has more than `MOST_VALUES` values.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{what} has {len(text)} characters; at most {MOST_CHARACTERS} are read")
    try:
        # Counting them is much faster than making them.
        events = itertools.islice(yaml.parse(text, Loader=_Loader), 2 * MOST_VALUES)
        if sum(isinstance(event, yaml.NodeEvent) for event in events) > MOST_VALUES:
            raise ValueError("it has too many values")
        value = yaml.load(text, Loader=_Loader)
        if _size(value, {}, set()) > MOST_VALUES:
            raise ValueError("it has too many values, as its aliases repeat them")
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in str(error):
            raise ValueError(f"{what} is nested too deeply") from error
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(f"{error.problem}{where}".split())
        raise ValueError(f"{what} is not valid YAML: {problem}; put texts that hold ': ' or '#' in quotes") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # PyYAML's constructors let these out for malformed tagged values such as `!!int ""` or `!!bool x`.
        raise ValueError(f"{what} is not valid YAML: {' '.join(str(error).split())[:100]}") from error
    except RecursionError as error:
        raise ValueError(f"{what} is nested too deeply") from error
    return value


def unique(pairs: list[tuple[Any, Any]]) -> dict:
    """Returns the mapping of (key, value) pairs. Raises ValueError for a key that is given twice."""
    value = {}
    for key, entry in pairs:
        if key in value:
            raise ValueError(f"the key {key!r:.60} is given twice; keep one")
        value[key] = entry
    return value


def _size(value: Any, known: dict[int, int], above: set[int]) -> int:
    """The number of values in a tree in which the same one may be at several places; it stops at many.

    Raises yaml.YAMLError for a value that holds itself.
    """
    if not isinstance(value, list | dict | tuple | set):
        return 1
    place = id(value)
    if place in above:
        raise yaml.YAMLError("a value holds itself")
    if place not in known:
        inside, above = [*value, *value.values()] if isinstance(value, dict) else value, above | {place}
        known[place] = min(MOST_VALUES + 1, 1 + sum(_size(part, known, above) for part in inside))
    return known[place]
