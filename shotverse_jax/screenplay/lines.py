"""What a line of a screenplay in prose begins with: the label of a shot, a number, a bullet, a heading, or nothing."""

import dataclasses
import re
import unicodedata

from shotverse_jax.screenplay import lengths
from shotverse_jax.screenplay.lengths import Time, plain

_NUMERAL = r"\d{1,3}[a-z]?|one|two|three|four|five|six|seven|eight|nine|ten|[一二三四五六七八九十]{1,3}"
_BEHIND = r"(?=\s*(?:[\[\](){}<>:.,|-]|$)|\s+(?-i:[A-Z0-9\u0400-\uffff]))"
_SHOT_WORDS = (
    r"(?:camera\s+)?(?:shot|take|clip|cut|einstellung|plano|toma|plan|inquadratura|кадр)|镜头|鏡頭|分镜头|分鏡頭|分镜|分鏡"
    r"|ショット|カット|컷|샷"
)
_SHOT = re.compile(
    rf"[\[({{<]?\s*(?:(?:{_SHOT_WORDS})\s*(?:no\.?|nr\.?|number)?\s*#?\s*(?P<n>{_NUMERAL})"
    rf"|第\s*(?P<h>\d+|[一二三四五六七八九十]+)\s*(?:个|個)?(?:镜头|鏡頭|镜|鏡|分镜|カット|ショット)"
    rf"|(?:s|sh)\s?0*(?P<s>\d{{1,4}})(?=\s*[:-])){_BEHIND}",
    re.IGNORECASE,
)
_SCENE = re.compile(
    rf"(?:(?:scene|szene|scène|escena|シーン)\s*#?\s*(?:{_NUMERAL})|第\s*(?:\d+|[一二三四五六七八九十]+)\s*(?:场|場|幕)|场景\s*(?:\d+|[一二三四五六七八九十]+)){_BEHIND}",
    re.IGNORECASE,
)
_AFTER_LABEL = re.compile(r"\s*[\])}>]?\s*[:.|,-]*\s*")
_NUMBER = re.compile(
    r"(?:[\[(]\s*(\d{1,2})\s*[\])]|#?(\d{1,2})\s*[.):,](?!\d)|#?(\d{1,2})\s+-(?=\s)|([一二三四五六七八九十]{1,2})\s*,)\s*"
)
_BULLET = re.compile(r"(?:[-*+•‣▪●◦·–—・○■□▶►✓✔]|->|=>)\s+|[•‣▪●◦・■▶►]")
_RULE = re.compile(r"([-*_=~#.])(?:\s*\1){2,}\s*|-{3,}.{0,2}")
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*")
_BLANKS = re.compile(r"\s{9,}")
_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1|(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])")
_TRANSITION = re.compile(
    r"(?:>\s*)?(?:FADE\s+(?:IN|OUT|TO\s+\w+)|(?:[A-Z]+\s+)?CUT\s+TO(?:\s+BLACK)?|DISSOLVE\s+TO|THE\s+END)\s*[:.]?"
)
LABEL = re.compile(r"([^\W\d][\w /'-]{0,30}?)\s*:\s*(.*)", re.DOTALL)
"""A word before a colon, and what follows."""


def _labels(kind: str, words: str) -> dict[str, str]:
    return {word: kind for word in words.split("|")}


LABELS = (
    _labels(
        "scene",
        "scene|scene description|global caption|global prompt|global|caption|setting|location|place|synopsis|logline"
        "|story|summary|overview|context|environment|background|premise|scene caption|szene|ort|escena|scène|lieu"
        "|场景|场景描述|全局描述|全局提示|场地|地点|シーン|場面|場所|设定|設定",
    )
    | _labels(
        "look",
        "style|visual style|look|look and feel|mood|tone|lighting|light|atmosphere|genre|characters|character|cast"
        "|subject|subjects|time of day|weather|palette|colour palette|color palette|colours|colors|lens|props|stil"
        "|figuren|personen|personnages|personajes|estilo|风格|人物|角色|光线|氛围|画风|スタイル|登場人物|雰囲気"
        "|キャラクター",
    )
    | _labels(
        "out",
        "notes|note|title|author|authors|credit|draft date|date|music|sound|audio|sfx|sound effects|voiceover|vo"
        "|voice over|narration|frame rate|fps|resolution|aspect ratio|format|total|total runtime|total time"
        "|total duration|total length|runtime"
        "|director|negative prompt|contact|source|notiz|notizen|titel|titre|título|notas|备注|标题|音乐|音效|旁白"
        "|タイトル|音楽|備考",
    )
    | _labels(
        "shots",
        "shots|shot list|shotlist|storyboard|shot breakdown|镜头|分镜|分镜头|镜头列表|ショット|ショットリスト|絵コンテ",
    )
    | _labels(
        "text",
        "description|action|visual|visuals|prompt|shot description|content|画面|画面内容|内容|描述|説明|beschreibung",
    )
)
"""What a word before a colon begins: the scene's caption, a part of it that keeps its word, what no picture shows, the
list of shots, or the words of a shot."""


@dataclasses.dataclass
class Line:
    """A line of the text.

    Attributes:
        text: without its marks.
        mark: what it begins with: "shot", "scene", "number", "bullet", "heading", "rule", "transition", "blank" or "".
        number: of the shot or item, else 0.
        time: at its beginning, after its mark.
        fresh: whether a paragraph begins here.
        indent: blanks before it.
        words: the line as it was.
        label: the kind of the part of the text that it is in, of `LABELS`; "" for none.
        stamped: a time code that only counts if other lines have one.
    """

    text: str
    mark: str = ""
    number: int = 0
    time: Time | None = None
    fresh: bool = False
    indent: int = 0
    words: str = ""
    label: str = ""
    stamped: bool = False


def mark_of(words: str) -> Line:
    """A line by what it begins with."""
    indent = len(words) - len(words.lstrip())
    # Several patterns here take a time that grows with a power of the blanks in a row.
    words = _BLANKS.sub(" " * 8, words.strip())
    text = _EMPHASIS.sub(lambda m: m[2] or m[3], words.strip("\u200b\ufeff"))
    line = Line(text, words=words, indent=indent)
    if not text:
        return dataclasses.replace(line, mark="blank")
    if _TRANSITION.fullmatch(text):
        return dataclasses.replace(line, mark="transition")
    if _RULE.fullmatch(text):
        return dataclasses.replace(line, mark="rule")
    text = re.sub(r"^>\s+", "", text)
    heading = _HEADING.fullmatch(text)
    text = heading[2] if heading else text
    bullet = None if heading else _BULLET.match(text)
    inner = text[bullet.end() :] if bullet else text
    flat = plain(inner)
    if shot := _SHOT.match(flat):
        rest = inner[_AFTER_LABEL.match(flat, shot.end()).end() :]
        value = lengths.number(re.sub(r"[a-z]$", "", (shot["n"] or shot["h"] or shot["s"]).casefold()))
        # "Shot 2 (4s)": the bracket behind a label is no part of it.
        rest = inner[shot.end() :].lstrip() if flat[shot.end() :].lstrip()[:1] in tuple("[({<") else rest
        return dataclasses.replace(line, mark="shot", text=rest, number=int(value or 0))
    if scene := _SCENE.match(flat):
        return dataclasses.replace(line, mark="scene", text=inner[_AFTER_LABEL.match(flat, scene.end()).end() :])
    if heading:
        return dataclasses.replace(line, mark="heading", number=len(heading[1]), text=text)
    digit = unicodedata.digit(flat[:1], None) if flat[:1] and not flat[:1].isdecimal() else None
    if number := _NUMBER.match(flat):
        value = lengths.number(next(group for group in number.groups() if group))
        return dataclasses.replace(line, mark="number", number=int(value or 0), text=inner[number.end() :])
    if digit:  # a circled number
        return dataclasses.replace(line, mark="number", number=digit, text=inner[1:].strip())
    return dataclasses.replace(line, mark="bullet" if bullet else "", text=inner)
