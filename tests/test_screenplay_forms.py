"""Screenplays as people write them: every form becomes the same shots, and what was not understood is named."""

import codecs
import dataclasses
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.screenplay import FORMATS, Screenplay, Shot, parse_text, read_screenplay, to_text, write_screenplay
from shotverse_jax.screenplay.lengths import read_time

SCENE, WIDE, CLOSE = "A tram stop in the rain.", "Wide shot. The camera pushes in.", "Close-up. The camera pans right."


def shots(text, fmt=None, scene=None):
    """[(length, caption)] of a text."""
    return [(shot.duration, shot.caption) for shot in parse_text(text, fmt, scene).shots]


# ------------------------------------------------------------------------------------------------------------ prose

TWO = {
    "labels": "{scene}\n\nShot 1: {wide} (4s)\n\nSHOT 2 - {close} (3 sec)",
    "labels_without_empty_lines": "{scene}\nShot #1. {wide} [4s]\nShot #2. {close} [3s]",
    "labels_above": "{scene}\n\nSHOT 1 (4s)\n{wide}\n\nSHOT 2 (3s)\n{close}",
    "brackets_around": "{scene}\n\n[Shot 1] [4s] {wide}\n\n[Shot 2] [3s] {close}",
    "bold": "**Scene:** {scene}\n\n**Shot 1 (4s):** {wide}\n\n**Shot 2 (3s):** {close}",
    "headings": "{scene}\n\n## Shot 1 (4s)\n\n{wide}\n\n---\n\n## Shot 2 (3s)\n\n{close}",
    "underlined": "{scene}\n\nShot 1 (4s)\n-----------\n{wide}\n\nShot 2 (3s)\n-----------\n{close}",
    "lists_below": "{scene}\n\nShot 1\n- Duration: 4 s\n- Action: {wide}\n\nShot 2\n- Duration: 3 s\n- Visual: {close}",
    "numbers": "{scene}\n\n1. {wide} (4s)\n2. {close} (3s)",
    "numbers_in_brackets": "{scene}\n\n(1) [4s] {wide}\n\n(2) [3s] {close}",
    "circled": "{scene}\n\n① {wide} (4s)\n② {close} (3s)",
    "bullets": "{scene}\n\n- {wide} (4s)\n- {close} (3s)",
    "round_bullets": "{scene}\n\n• 4s: {wide}\n• 3s: {close}",
    "durations": "{scene}\n\n{wide} Duration: 4 seconds.\n\n{close} Length: 3 s",
    "spans": "{scene}\n\n[00:00-00:04] {wide}\n\n[00:04-00:07] {close}",
    "bare_spans": "{scene}\n\n0:00 – 0:04 {wide}\n\n0:04 – 0:07 {close}",
    "seconds": "{scene}\n\n(0-4s) {wide}\n\n(4-7s) {close}",
    "braces": "{scene}\n\n{{4 sec.}} {wide}\n\n<3.0 s> {close}",
    "full_width": "{scene}\n\n【４秒】{wide}\n\n（3 秒）{close}",
    "words": "{scene}\n\n[four seconds] {wide}\n\n[three seconds] {close}",
    "sections": "# Tram\n\n## Scene\n{scene}\n\n## Shots\n1. {wide} (4s)\n2. {close} (3s)\n\n## Notes\nShot in May.",
    "carriage_returns": "{scene}\r\r[4s] {wide}\r\r[3s] {close}\r",
    "no_break_spaces": "{scene}\n\u00a0\n[4s]\u00a0{wide}\n\u3000\n[3s]\t{close}",
    "subtitles": "{scene}\n\n1\n00:00:00,000 --> 00:00:04,000\n{wide}\n\n2\n00:00:04,000 --> 00:00:07,000\n{close}",
    "an_answer": "Here is a shot list:\n\n{scene}\n\n1. {wide} (4s)\n2. {close} (3s)\n\nLet me know what you think!",
    "table": "{scene}\n\n| # | Description | Duration |\n|--:|:--|---|\n| 1 | {wide} | 4s |\n| 2 | {close} | 3 |",
}


@pytest.mark.parametrize("form", TWO)
def test_two_shots_in_every_form(form):
    text = TWO[form].format(scene=SCENE, wide=WIDE, close=CLOSE)
    assert shots(text) == [(4, WIDE), (3, CLOSE)] and parse_text(text).caption == SCENE


def test_columns_and_labels_that_are_words_of_a_sentence():
    text = "S.\n\nShot 1 | Wide | 4s | The camera pans.\nShot 2 | Close\n\nTotal runtime: 8 s"
    assert shots(text) == [(4, "Wide. The camera pans."), (None, "Close")]
    assert shots("S.\n\nShot one is wide.\n\nShot 2 men.") == [(None, "Shot one is wide."), (None, "Shot 2 men.")]
    assert shots("1. **Wide (4 seconds):** It rains.\n2. Close.") == [(4, "Wide: It rains."), (None, "Close.")]


@pytest.mark.parametrize(
    "text",
    [
        "雨の停留所。\n\nカット1（4秒）　{0}\n\nカット２（３秒）　{1}",
        "雨中的车站。\n\n镜头1：{0}（4秒）\n镜头二：{1}【三秒】",
        "场景：雨中的车站\n第一个镜头：{0} 时长：4秒\n第二个镜头：{1} 时长3秒",
        "Une rue.\n\nPlan 1 (4 s) : {0}\n\nPlan 2 (3 s) : {1}",
        "Eine Straße.\n\nEinstellung 1 (4 Sek.): {0}\n\nEinstellung 2 – {1} Dauer: 3 Sekunden",
    ],
)
def test_other_languages(text):
    wide, close = "全景，推进。", "特写，右摇。"
    assert shots(text.format(wide, close)) == [(4, wide), (3, close)]


def test_lines_of_chinese_join_without_blanks():
    assert parse_text("雨中的\n车站。\n\n[4s] 全景，\n推进。").shots == (Shot("全景，推进。", 4),)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4s", 4), ("4,5 s", 4.5), ("~4 sec.", 4), ("0:03", 3), ("1:30", 90), ("1 min 30 s", 90), ("1m30s", 90),
        ("500 ms", 0.5),
        ('4"', 4), ("ten seconds", 10), ("约４秒", 4), ("十二秒", 12), ("Duration = 5", 5), ("00:00:01:12", 1.5),
        ("3 seconds later", None), ("character1", None), ("1-2", None), ("4", None), ("SFX: rain", None), ("", None),
    ],
)  # fmt: skip
def test_ways_to_write_a_length(text, seconds):
    found = read_time(text)
    assert (found and found.first) == seconds


@pytest.mark.parametrize(
    ("text", "expected", "note"),
    [
        ("[0:00] A.\n\n[0:04] B.", [(4, "A."), (None, "B.")], "beginnings of shots"),
        ("[0:04] A.\n\n[0:03] B.", [(4, "A."), (3, "B.")], None),
        ("[0:00-0:04] A.\n\n[0:05-0:07] B.", [(4, "A."), (2, "B.")], "leave 1 s between them out"),
        ("[0:00-0:04] A.\n\n[0:03-0:07] B.", [(4, "A."), (4, "B.")], "overlap by 1 s"),
        ("[3-5 s] A.", [(4, "A.")], "'3-5 s' is read as 4 s"),
        ("[24 frames] A.", [(1.5, "A.")], "'24 frames' are 1.5 s at 16 fps"),
        ("fps: 24\n\n[24 frames] A.", [(1, "A.")], "1 s at 24 fps"),
        ("[4s] A. Duration: 5 s", [(4, "A.")], "shot 1 has several lengths; '4s' counts"),
        (
            "S.\n\n[4s] [SFX: rain] A [character1].",
            [(4, "[SFX: rain] A [character1].")],
            "'[SFX: rain]' is not understood",
        ),
        ("A woman walks.", [(None, "A woman walks.")], "one paragraph is read as one shot"),
        ("S.\nA.\nB.", [(None, "A."), (None, "B.")], "every line is read as a paragraph"),
        ("S.\n\nFADE IN:\n\n[4s] A.\n\nCUT TO:\n\n[3s] B.", [(4, "A."), (3, "B.")], "'CUT TO:' is no shot"),
        ("S.\n\nStyle: noir.\n\n[4s] A.", [(4, "A.")], "“Style:” is read as a part of the scene's caption"),
        ("S.\n\n[4s] A.\n\nMusic: jazz", [(4, "A.")], "'Music: jazz' was left out"),
        ("S.\n\nShot 1: A.\n\nIt rains.\n\nShot 2: B.", [(None, "A. It rains."), (None, "B.")], "a part of shot 1"),
        ("Scene 1: A. (4s)\n\nScene 2: B. (3s)", [(4, "A."), (3, "B.")], "are read as shots"),
        ("S.\n\n## One\nA.\n\n## Two\nB.", [(None, "One. A."), (None, "Two. B.")], "headings are read as"),
        ("1945. It rains.\n\nThe camera pans.", [(None, "The camera pans.")], None),
        ("S.\n\n(3 seconds later) he runs.", [(None, "(3 seconds later) he runs.")], None),
        ("S.\n\nShot 1: A\n- rain\n- wind\n\nShot 2: B", [(None, "A. rain. wind"), (None, "B")], None),
    ],
)
def test_what_is_assumed_or_not_understood_is_noted(text, expected, note):
    play = parse_text(text)
    assert [(shot.duration, shot.caption) for shot in play.shots] == expected
    assert any(note in said for said in play.notes) if note else not play.notes, play.notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[0:04-0:02] A.", "shot 1: .* ends before it begins"),
        ("S.\n\nShot 1:\n\nShot 2: B", "shot 1: a shot has no caption"),
    ],
)
def test_what_no_shot_can_have_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_text(text)


def test_notes_are_no_part_of_what_a_screenplay_says():
    play = Screenplay("a", (Shot("b"),), notes=("x",))
    assert play == Screenplay("a", (Shot("b"),)) and "x" not in to_text(play, "yaml")
    assert dataclasses.replace(play, fps=24).notes == ("x",)


# ---------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("encoding", "words", "note"),
    [
        ("utf-8", "Café – “rain”", None),
        ("utf-8-sig", "Café – “rain”", None),
        ("utf-16", "Café – “rain”", None),
        ("utf-16-le", "Café – “rain” in a street", None),
        ("utf-16-be", "Café – “rain” in a street", None),
        ("utf-32", "Café", None),
        ("cp1252", "Café – “rain” in Łódź".replace("Łódź", "Århus"), "Windows-1252"),
        ("gb18030", "雨中的车站，女人在等待。", "GB 18030"),
        ("cp932", "雨の停留所で女が待っている。", "Shift JIS"),
    ],
)
def test_encodings(tmp_path, encoding, words, note):
    path = tmp_path / "play.txt"
    path.write_bytes(f"{words}\r\n\r\n[4s] {words}".encode(encoding))
    play = read_screenplay(path)
    assert (play.caption, play.shots) == (words, (Shot(words, 4),))
    assert not play.notes if note is None else note in play.notes[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (rb"{\rtf1\ansi A cafe.\par}", "this is RTF"),
        (b"%PDF-1.7\n", "this is a PDF"),
        (b"PK\x03\x04\x14\x00", "an office program"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (codecs.BOM_UTF16_LE + b"\x00", "no text"),
    ],
)
def test_other_documents_are_refused_by_their_name(tmp_path, data, words):
    for name in ("play.txt", "play.json", "play"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=words):
            read_screenplay(tmp_path / name)


# ------------------------------------------------------------------------------------------------- mappings and tables

KEYS = {
    "model": {"title": "Tram", "scene": SCENE, "fps": 24, "shots": [
        {"shot_number": 1, "description": WIDE, "duration_seconds": 4},
        {"shot_number": 2, "prompt": CLOSE, "duration": "3s"}]},
    "list": [{"shot": 1, "scene_description": WIDE, "length": "0:04"},
             {"shot": 2, "caption": CLOSE, "time": "3 seconds"}],
    "camel": {"globalCaption": SCENE, "shotList": [
        {"shotDescription": WIDE, "startTime": "0:00", "endTime": "0:04"}, {"text": CLOSE, "start": 4, "end": 7}]},
    "numbered": {"screenplay": {"shots": {
        "shot_1": {"action": WIDE, "durationMs": 4000}, "shot_2": {"visual": CLOSE, "dur": 3}}}},
    "chinese": {"场景": SCENE, "镜头": [
        {"镜号": 1, "画面": WIDE, "时长": "4秒"}, {"镜号": 2, "画面": CLOSE, "时长": "3秒"}]},
    "scenes": {"scenes": [{"description": WIDE, "duration": 4}, {"description": CLOSE, "duration": 3}]},
    "ranges": {"shots": [{"text": WIDE, "timecode": "00:00-00:04"}, {"text": CLOSE, "timecode": "00:04-00:07"}]},
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_shot_lists_of_language_models(name):
    text = json.dumps(KEYS[name], ensure_ascii=False)
    assert shots(text) == [(4, WIDE), (3, CLOSE)]
    assert shots(f"Here you are:\n\n```json\n{text}\n```\n\nEnjoy!") == shots(text)
    assert parse_text(text).fps == (24 if name == "model" else 16)


def test_the_parts_of_a_shot_become_sentences_and_the_rest_is_named():
    shot = {"shot_type": "CU", "angle": "low", "description": "Her hands",
            "camera": {"movement": "dolly in", "speed": "slow"},
            "dialogue": "He is late.", "audio": "rain", "vfx": "none", "lens": "50mm"}  # fmt: skip
    play = parse_text(
        json.dumps({"style": "noir", "characters": [{"name": "Anna", "coat": "yellow"}], "shots": [shot], "foo": 1})
    )
    assert (
        play.shots[0].caption
        == "Close-up. low. Her hands. Camera: dolly in, speed: slow. Lens: 50mm. Dialogue: He is late."
    )
    assert play.caption == "Style: noir. Characters: Anna, coat: yellow."
    said = " ".join(play.notes)
    assert all(word in said for word in ("'vfx'", "audio was left out", "what is said", "no key 'foo'"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_shot_lists_of_spreadsheets(tmp_path, delimiter):
    rows = [["Scene", "Shot", "Size", "Movement", "Description", "Duration (s)"],
            ["1", "1", "WS", "Dolly in", "A woman waits", "4"], ["1", "2", "CU", "Pan right", "Her hands", "0:00:03"],
            ["", "", "", "", "Total", "7"]]  # fmt: skip
    rows[3][4] = ""
    rows[3][0] = "Total"
    text = "\r\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "list.csv").write_bytes(("\ufeff" + text).encode())
    play = read_screenplay(tmp_path / "list.csv")
    assert [shot.duration for shot in play.shots] == [4, 3]
    assert play.shots[0].caption == "Wide shot. A woman waits. Camera: Dolly in."
    with pytest.raises(ValueError, match="a column that describes them"):
        parse_text("a,b\n1,2", "csv")


def test_scenes_of_a_table_and_of_json():
    table = "Scene,Description,Duration\nCafe,A.,4\n,B.,3\nQuay,C.,5\n"
    assert shots(table, "csv") == [(4, "A."), (3, "B.")] and shots(table, "csv", 2) == [(5, "C.")]
    assert any("scene 1 of 2 is read" in note and "2 'Quay'" in note for note in parse_text(table, "csv").notes)
    scenes = json.dumps({"scenes": [{"heading": "CAFE", "shots": ["A.", "B."]}, {"heading": "QUAY", "shots": ["C."]}]})
    assert shots(scenes, scene=2) == [(None, "C.")] and parse_text(scenes, scene=2).caption == "QUAY"
    prose = "Rain.\n\nScene 1: Cafe\nShot 1: A.\nShot 2: B.\n\nScene 2: Quay\nShot 1: C."
    assert shots(prose) == [(None, "A."), (None, "B.")] and parse_text(prose, scene=2).caption == "Rain. Quay"
    for text in (prose, scenes):
        with pytest.raises(ValueError, match="there is no scene 3; the screenplay has 2 scenes"):
            parse_text(text, scene=3)
    with pytest.raises(ValueError, match="has one scene"):
        parse_text("S.\n\nA.", scene=2)


# ------------------------------------------------------------------------------------------------------------ HoloCine


def test_the_arguments_of_holocine():
    values = {"global_caption": "A stop. This scene contains 3 shots.", "shot_captions": ["A.", "B.", "C."],
              "num_frames": 241, "shot_cut_frames": [37, 113]}  # fmt: skip
    call = ", ".join(f"{key}={value!r}" for key, value in values.items())
    for text in (json.dumps(values), f"run_inference(pipe=pipe, seed=0, {call})", call.replace("=", " = ")):
        play = parse_text(text)
        assert play.caption == "A stop." and len(play.shots) == 3
        assert (play.layout().cuts, play.layout().num_frames) == ((37, 113), 241)
    values["shot_cut_frames"] = [37]
    with pytest.raises(ValueError, match="has 1 cuts, and 3 shots have 2"):
        parse_text(json.dumps(values))
    with pytest.raises(ValueError, match="no valid Python"):
        parse_text("run_inference(shot_captions=[")


@pytest.mark.parametrize(
    ("text", "caption", "count", "note"),
    [
        ("[per shot caption] A. [shot cut] B.", "", 2, None),
        ("[global caption] S. [per shot caption] A. [shot cut] B. [shot cut]", "S.", 2, "no shot after it"),
        (
            "[global caption] S. This scene contains 4 shots. [per shot caption] A.",
            "S.",
            1,
            "says 4 shots, and there are 1",
        ),
        ("Prompt: [global caption] S. [per shot caption] A.", "S.", 1, "before [global caption] was left out"),
    ],
)
def test_prompts_of_holocine(text, caption, count, note):
    play = parse_text(text)
    assert (play.caption, len(play.shots)) == (caption, count)
    assert any(note in said for said in play.notes) if note else not play.notes


# ------------------------------------------------------------------------------------------------------------- scripts

FOUNTAIN = """Title: TRAM
Author: Somebody

FADE IN:

EXT. TRAM STOP - NIGHT #1#

A WOMAN waits. *Rain.*
The lamps hum.

WOMAN (V.O.)
(tired)
It never comes.

[4s] The camera PUSHES IN. [[ check ]]

/* cut:
A dog barks. */

CUT TO:

INT. TRAM - NIGHT

# Act two

= They ride.

The doors close. (3s)

> FADE OUT.
"""
FDX = """<?xml version="1.0" encoding="UTF-8"?><FinalDraft DocumentType="Script" Version="5"><Content>
<Paragraph Type="Scene Heading"><SceneProperties><Summary><Paragraph><Text>They wait.</Text></Paragraph></Summary>
</SceneProperties><Text>EXT. TRAM STOP - NIGHT</Text></Paragraph>
<Paragraph Type="Action"><Text>A </Text><Text Style="Bold">WOMAN</Text><Text> waits.</Text></Paragraph>
<Paragraph Type="Character"><Text>WOMAN</Text></Paragraph>
<Paragraph Type="Parenthetical"><Text>(tired)</Text></Paragraph>
<Paragraph Type="Dialogue"><Text>It never comes.</Text></Paragraph>
<Paragraph Type="Shot"><Text>CLOSE ON her shoes.</Text></Paragraph>
<Paragraph Type="Transition"><Text>CUT TO:</Text></Paragraph>
<Paragraph Type="Scene Heading"><Text>INT. TRAM</Text></Paragraph>
<Paragraph Type="Action"><Text>The doors close.</Text></Paragraph>
</Content><TitlePage><Content><Paragraph><Text>TRAM</Text></Paragraph></Content></TitlePage></FinalDraft>"""


def test_fountain(tmp_path):
    pytest.importorskip("screenplay_tools")
    for name in ("tram.fountain", "tram.txt"):  # by its headings too
        (tmp_path / name).write_text(FOUNTAIN)
        play = read_screenplay(tmp_path / name)
        assert play.caption == "EXT. TRAM STOP - NIGHT"
        assert play.shots == (
            Shot('A WOMAN waits. Rain. The lamps hum. WOMAN says (tired): "It never comes."'),
            Shot("The camera PUSHES IN.", 4),
        )  # fmt: skip
        said = "\n".join(play.notes)
        for words in ("Title: TRAM", "FADE IN:", "CUT TO:", "FADE OUT.", "check", "A dog barks", "Act two", "They ride",
                      "scene 1 of 2", "2 'INT. TRAM - NIGHT'", "what is said"):  # fmt: skip
            assert words in said
        second = read_screenplay(tmp_path / name, scene=2)
        assert (second.caption, second.shots) == ("INT. TRAM - NIGHT", (Shot("The doors close.", 3),))


def test_final_draft(tmp_path):
    (tmp_path / "tram.fdx").write_text(FDX)
    play = read_screenplay(tmp_path / "tram.fdx")
    assert play.caption == "EXT. TRAM STOP - NIGHT"
    assert play.shots == (Shot('A WOMAN waits. WOMAN says (tired): "It never comes."'), Shot("CLOSE ON her shoes."))
    said = "\n".join(play.notes)
    assert all(words in said for words in ("They wait.", "CUT TO:", "TRAM", "scene 1 of 2"))
    assert read_screenplay(tmp_path / "tram.fdx", 2).shots == (Shot("The doors close."),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><FinalDraft><Content/></FinalDraft>', "no document type and no entities"),
        ("<FinalDraft><Content>", "no valid Final Draft file"),
        ("<FinalDraft/>", "no <Content>"),
        ("<FinalDraft><Content/></FinalDraft>", "nothing to film"),
        ("<a>" * 100_000, "no valid Final Draft file"),
    ],
)
def test_broken_final_draft(text, words):
    with pytest.raises(ValueError, match=words):
        parse_text(text, "fdx")


def test_without_its_library_fountain_is_refused_by_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "screenplay_tools.fountain.parser", None)
    with pytest.raises(ValueError, match=r"pip install 'shotverse_jax\[edit\]'"):
        parse_text(FOUNTAIN, "fountain")


def test_what_is_never_closed_is_named():
    pytest.importorskip("screenplay_tools")
    play = parse_text("INT. A\n\nB.\n\n/* C.\n\nD. [[ E", "fountain")
    assert play.shots == (Shot("B."),) and any("never closed" in note and "C. D." in note for note in play.notes)


# -------------------------------------------------------------------------------------------------------------- fuzzing

PIECES = [
    "Shot 1:", "镜头1：", "1.", "- ", "## ", "---", "[4s]", "(0:00-0:04)", "0:04 ", "Duration: 5", "Style:",
    "Scene 2", "INT. A - B", "\n", "\n\n", "\r", "\t", "| a | b |", "CUT TO:", "/*", "*/", "[[", "]]",
    "@A", ".A", "> ", "~", "= ", "#1#", "**", "{", "}", '"shots"', ":", "[", "]", ",", "shot_captions=[",
    "[per shot caption]", "[shot cut]", "```json\n", "```", "Description;Duration", ";", "<FinalDraft>",
    "<Content>", "<Paragraph Type='Action'>", "<Text>", "</Text>", "</Paragraph>",
    "</Content></FinalDraft>", "A man.", "１", "秒", "“", "\u2028",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=16).map("".join)


@given(texts, st.sampled_from([None, *FORMATS]), st.sampled_from([None, 1, 2]))
@settings(max_examples=300, deadline=2000)
def test_fuzz_forms(text, fmt, scene):
    try:
        play = parse_text(text, fmt, scene)
    except ValueError as error:
        assert type(error) is ValueError and "\n" not in str(error)
        return
    assert parse_text(to_text(play, "json"), "json") == play
    assert all("\n" not in note and len(note) < 20_000 for note in play.notes)


entries = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from(["4s", "0:00-0:04", "WS"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["shots", "scenes", "caption", "duration", "start", "end", "size", "camera", "fps", "cuts"]),
        inner, max_size=5,
    ),
)  # fmt: skip


@given(entries)
@settings(max_examples=200, deadline=2000)
def test_fuzz_mappings(value):
    try:
        play = parse_text(json.dumps(value), "json")
    except ValueError as error:
        assert type(error) is ValueError
        return
    assert parse_text(to_text(play, "json"), "json") == play


@pytest.mark.parametrize(
    "piece",
    ["[", "(4", "Duration: ", "1 m ", "4 ", "*", "[[", "/*", "| ", "Shot 1 ", "- ", "一", "0:0", " \u00a0", "a: "],
)
def test_long_repetitions_do_not_hang(piece):
    """A pattern that tries every way to split a text would take minutes here."""
    for text in (piece * 20_000, "S.\n\n" + piece * 20_000 + "\n\n[4s] A."):
        for fmt in (None, "fountain"):
            try:
                parse_text(text[:60_000], fmt)
            except ValueError as error:
                assert re.search(r"\w", str(error))


# --------------------------------------------------------------------------------------------------------------- cases


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("numbered_paragraphs.txt", [4, 3, 5, 3]), ("timecode.txt", [4, 3]), ("bullets.txt", [4, 3, None]),
        ("markdown.md", [4, 3]),
        ("dur_forms.txt", [4, 4, 4.5, 2, 3]), ("scene_and_style.txt", [4, 3]), ("cp1252.txt", [4, 3]),
        ("cr_only.txt", [4, 3]),
        ("crlf_bom.txt", [4, 3]), ("tabs_nbsp.txt", [4, 3]), ("rtl_emoji.txt", [4, 3]), ("llm.json", [4, 3]),
        ("shotlist.csv", [4, 3]), ("script.fdx", [None] * 2), ("fountain.fountain", [None] * 4),
        ("holocine_noglobal.txt", [None] * 2), ("holocine_emptycut.txt", [None] * 2),
        ("holocine_extra.txt", [None] * 3),
    ],
)  # fmt: skip
def test_recorded_files(reference, name, lengths):
    folder = reference / "cases" / "21-screenplays"
    if not folder.is_dir():
        pytest.skip("the reference has no cases")
    play = read_screenplay(folder / name)
    assert [shot.duration for shot in play.shots] == lengths
    assert not any(re.search(r"shot \d|\d+ ?s\b|00:|---|#|\[\d", shot.caption, re.IGNORECASE) for shot in play.shots)
    if name in (
        "scene_and_style.txt",
        "cp1252.txt",
        "fountain.fountain",
        "holocine_extra.txt",
        "holocine_emptycut.txt",
    ):
        assert play.notes
    with pytest.raises(ValueError, match="this is RTF"):
        read_screenplay(folder / "notes.rtf")


# ---------------------------------------------------------------------------------------------- adapters of shots

ASKED = (("close-up", 0.8), ("pan-left", None))


@pytest.mark.parametrize(
    ("text", "fmt"),
    [
        ("A man.\n\n[4s] [lora: close-up 0.8, pan-left] He waits.\n\nHe goes.", None),
        ("A man.\n\nShot 1: He waits [LoRA: close-up:0.8; pan-left].\n\nShot 2: He goes.", None),
        ("A man.\n\n- <lora:close-up:0.8> He waits. <lora:pan-left>\n- He goes.", None),
        ("caption: A man.\nshots:\n- {caption: He waits., lora: [close-up 0.8, pan-left]}\n- He goes.", "yaml"),
        ('{"caption": "A man.", "shots": [{"caption": "He waits.", "loras": {"close-up": 0.8, "pan-left": null}}, '
         '"He goes."]}', "json"),
        ("Shot,Description,LoRA\n1,He waits.,close-up 0.8; pan-left\n2,He goes.,\n", "csv"),
        ("[global caption] A man. [per shot caption] [lora: close-up 0.8,pan-left] He waits [shot cut] He goes.", None),
        ("INT. ROOM - DAY\n\n[lora: close-up 0.8, pan-left] He waits.\n\nHe goes.", "fountain"),
    ],
)  # fmt: skip
def test_adapters_of_a_shot_in_every_format(text, fmt):
    play = parse_text(text, fmt)
    assert [shot.loras for shot in play.shots] == [ASKED, ()] and play.notes == ()
    assert [shot.caption.rstrip(".") for shot in play.shots] == ["He waits", "He goes"]
    for other in ("yaml", "json", "text")[: 3 if play.caption else 2]:
        assert parse_text(to_text(play, other), other) == play


def test_adapters_of_all_shots_and_those_that_cannot_be(tmp_path):
    play = parse_text("A man. [lora: noir 0.5, b]\n\nHe waits. [lora: noir 0.2]\n\nHe goes.")
    assert [shot.loras for shot in play.shots] == [(("noir", 0.2), ("b", None)), (("noir", 0.5), ("b", None))]
    assert play.caption == "A man."
    for mark, words in (
        ("[lora: ]", "NAME or NAME STRENGTH"),
        ("[lora: a 1e9]", "strength of the adapter a"),
        ("[lora: a, a]", "once"),
        (f"[lora: {', '.join(map(chr, range(97, 115)))}]", "at most 16"),
    ):
        with pytest.raises(ValueError, match=words):
            Shot(f"He waits. {mark}")
    with pytest.raises(ValueError, match="no number at its end"):
        Shot("He waits.", loras=(("take 2", None),))
    with pytest.raises(ValueError, match="lora names adapters"):
        parse_text('{"shots": [{"caption": "a", "lora": 3}]}')
    with pytest.raises(ValueError, match="no place for the adapters"):
        write_screenplay(play, tmp_path / "a.holocine.txt")
    assert not (tmp_path / "a.holocine.txt").exists()
    assert "lora" not in to_text(play, "holocine")
