"""Screenplays: cut arithmetic against HoloCine's worked examples, every format both ways, and what is refused."""

import contextlib
import dataclasses
import io
import json
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.screenplay import (
    FORMATS,
    MAX_FRAMES,
    Screenplay,
    Shot,
    layout_from_cuts,
    parse_text,
    read_screenplay,
    snap,
    to_text,
    write_screenplay,
)

EXAMPLES = sorted(
    path for path in (Path(__file__).parents[1] / "examples").iterdir() if path.suffix in (".txt", ".yaml", ".json")
)


def play(count, durations=None, **settings):
    durations = durations or [None] * count
    return Screenplay("A man by a car.", tuple(Shot(f"Shot {i}.", d) for i, d in enumerate(durations)), **settings)


# ------------------------------------------------------------------------------------------------ cuts


@pytest.mark.parametrize(
    ("frames", "count", "cuts", "latents"),
    [
        (241, 5, (49, 97, 145, 193), (13, 12, 12, 12, 12)),
        (241, 2, (121,), (31, 30)),
        (249, 2, (125,), (32, 31)),
        (249, 3, (81, 165), (21, 21, 21)),
        (249, 4, (61, 125, 185), (16, 16, 15, 16)),
        (81, 2, (41,), (11, 10)),
        (None, 2, (125,), (32, 31)),
        (None, 1, (), (21,)),
        (5, 1, (), (2,)),
    ],
)
def test_automatic_cuts(frames, count, cuts, latents):
    layout = play(count, frames=frames).layout()
    assert layout.cuts == cuts
    assert tuple(np.bincount(layout.latent_index_T)) == latents
    assert layout.latent_frames == sum(latents) == (layout.num_frames - 1) // 4 + 1


def test_snap_rounds_ties_to_even():
    assert [snap(f) for f in (1, 2, 3, 4, 5, 7, 11, 15, 81, 83, 240, 243)] == [
        1,
        1,
        1,
        5,
        5,
        9,
        9,
        17,
        81,
        81,
        241,
        241,
    ]


def test_given_cuts_of_the_holocine_readme():
    layout = layout_from_cuts(241, (37, 73, 113, 169, 205))
    firsts = [int(np.argmax(layout.latent_index_T == shot)) for shot in range(6)]
    assert firsts == [0, 10, 19, 29, 43, 52]
    assert np.bincount(layout.latent_index_T).tolist() == [10, 9, 10, 14, 9, 9]
    assert layout.spans == ((0, 37), (37, 73), (73, 113), (113, 169), (169, 205), (205, 241))
    assert layout.latent_index_T.dtype == np.int32


@pytest.mark.parametrize("cuts", [(121, 121), (121, 122), (90, 40), (241,), (300,), (-40,)])
def test_cuts_that_leave_a_shot_without_frames_are_refused(cuts):
    with pytest.raises(ValueError, match="increasing"):
        layout_from_cuts(241, cuts)


@pytest.mark.parametrize(
    ("durations", "settings", "cuts", "total"),
    [
        ([4, 3.5], {}, (65,), 121),
        ([2, 1, 5], {"fps": 24}, (49, 73), 193),
        ([0.01, 0.01, 0.01], {}, (5, 9), 13),  # each is lengthened to four frames
        ([0.01, 6], {}, (5,), 97),
        ([2, None, 4], {}, (33, 81), 145),  # the untimed shot takes the mean, 3 s
        ([2, None, None], {"frames": 129}, (33, 81), 129),  # the untimed shots share the rest
        ([6, 2, 0.1], {"frames": 129}, (97, 125), 129),
        ([5, 5, 5], {"frames": 240}, (81, 161), 241),
    ],
)
def test_durations(durations, settings, cuts, total):
    layout = play(len(durations), durations, **settings).layout()
    assert (layout.cuts, layout.num_frames) == (cuts, total)


@pytest.mark.parametrize(
    ("ends", "frames", "lengths"),
    [
        ((97,), 33, (33,)),
        ((49, 97), 33, (17, 16)),
        ((97, 193, 289, 385), 33, (9, 8, 8, 8)),
        ((33, 129, 225, 321), 33, (5, 12, 8, 8)),  # the first shot's share is 3.4 frames
        ((5, 241), 33, (5, 28)),
        ((237, 241), 33, (29, 4)),
        ((49, 97), 240, (121, 120)),
        ((81, 121, 241), 241, (81, 40, 120)),
        ((9, 17, 25), 13, (5, 4, 4)),
    ],
)
def test_a_scaled_layout_keeps_the_shares(ends, frames, lengths):
    layout = layout_from_cuts(ends[-1], ends[:-1]).scaled(frames)
    assert tuple(end - start for start, end in layout.spans) == lengths
    assert layout.num_frames == sum(lengths)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=16), st.integers(1, 400))
@settings(max_examples=200, deadline=None)
def test_every_scaled_layout_is_whole_latents_near_its_shares(latents, frames):
    ends = 1 + 4 * np.cumsum(latents)
    layout = layout_from_cuts(ends[-1], ends[:-1])
    if snap(frames) < 4 * len(latents) + 1:
        with pytest.raises(ValueError, match="raise frames"):
            layout.scaled(frames)
        return
    scaled = layout.scaled(frames)
    assert scaled.num_frames == snap(frames) and len(scaled.spans) == len(latents)
    lengths = np.diff(scaled.spans)[:, 0]
    shares = np.diff(layout.spans)[:, 0] * scaled.num_frames / layout.num_frames
    least = np.full(len(latents), 4) + (np.arange(len(latents)) == 0)
    assert (lengths >= least).all() and (lengths % 4 == least % 4).all()
    assert ((lengths == least) | (lengths - shares < 4)).all()
    if (shares >= least).all():
        assert (np.abs(lengths - shares) < 4).all()
    assert (layout.scaled(layout.num_frames).latent_index_T == layout.latent_index_T).all()


durations_st = st.none() | st.floats(0.001, 20)


@given(
    st.lists(durations_st, min_size=1, max_size=16), st.none() | st.integers(1, 700), st.sampled_from([8, 16, 23.976])
)
@settings(max_examples=300, deadline=None)
def test_every_layout_is_whole_latents(durations, frames, fps):
    try:
        screenplay = play(len(durations), durations, frames=frames, fps=fps)
    except ValueError as error:
        # Only three contradictions are possible here.
        assert any(s in str(error) for s in ("raise frames", "remove frames", "at most")), error
        return
    layout = screenplay.layout()
    starts = [start for start, _ in layout.spans]
    assert starts == [0, *layout.cuts] and layout.spans[-1][1] == layout.num_frames
    assert all(frame % 4 == 1 for frame in (*layout.cuts, layout.num_frames))
    assert all(end - start >= 4 for start, end in layout.spans) and len(layout.spans) == len(durations)
    # Independent count: the shot of a latent is the shot of its last frame.
    shot_of_frame = np.searchsorted(layout.cuts, np.arange(layout.num_frames), side="right")
    assert (layout.latent_index_T == shot_of_frame[::4]).all()
    if frames is not None:
        assert layout.num_frames == snap(frames)
    if all(d is not None and d * fps >= 8 for d in durations):
        ends = [end for _, end in layout.spans]
        for i, end in enumerate(ends):
            exact = sum(Fraction(d) for d in durations[: i + 1]) * Fraction(fps)
            assert abs(end - exact) <= 3.5  # half a frame of rounding, two of snapping, one of 4t+1's offset


@pytest.mark.parametrize(
    ("durations", "settings", "message"),
    [
        ([None] * 4, {"frames": 13}, "4 shots need at least 17 frames"),
        ([4, 4], {"frames": 249}, "remove frames or the durations"),
        ([9, None], {"frames": 129}, "leave too little"),
        ([200, 200], {}, f"at most {MAX_FRAMES} frames"),
        ([None], {"frames": MAX_FRAMES + 1}, "frames must be a number"),
    ],
)
def test_contradictory_timing(durations, settings, message):
    with pytest.raises(ValueError, match=message):
        play(len(durations), durations, **settings)


# ------------------------------------------------------------------------------------------------ reading

YAML = """
caption: A red car waits in the rain.
fps: 24
shots:
  - The camera pushes in.
  - {caption: "The camera pans left.", duration: 2.5}
"""
JSON = '{"global_caption": "A red car waits in the rain.", "fps": 24, "shots": ["The camera pushes in.", '
JSON += '{"caption": "The camera pans left.", "duration": 2.5}]}'
TEXT = """\ufeffA red car waits
in the rain.

The camera pushes in.
\t
(2.5 s) The camera
pans left.
"""
PROMPT = "[global caption] A red car waits in the rain. This scene contains 2 shots. "
PROMPT += "[per shot caption] The camera pushes in. [shot cut] The camera pans left."
SHOTS = (Shot("The camera pushes in."), Shot("The camera pans left.", 2.5))
CAR = Screenplay("A red car waits in the rain.", SHOTS)
UNTIMED = dataclasses.replace(CAR, shots=(SHOTS[0], Shot(SHOTS[1].caption)))


@pytest.mark.parametrize(
    ("fmt", "suffix", "text", "expected"),
    [
        ("yaml", ".yaml", YAML, dataclasses.replace(CAR, fps=24)),
        ("json", ".json", JSON, dataclasses.replace(CAR, fps=24)),
        ("text", ".txt", TEXT, CAR),
        ("holocine", ".holocine.txt", PROMPT, UNTIMED),
        ("holocine", ".holocine", PROMPT.upper().replace("THIS SCENE CONTAINS 2 SHOTS.", ""), None),
    ],
)
def test_a_file_is_read_by_suffix_by_content_and_from_stdin(fmt, suffix, text, expected, tmp_path, monkeypatch):
    expected = expected or parse_text(text, fmt)
    path = tmp_path / f"scene{suffix}"
    path.write_text(text, encoding="utf-8")
    assert read_screenplay(path) == expected
    bare = tmp_path / "scene"
    bare.write_text(text.replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert read_screenplay(str(bare)) == expected
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert read_screenplay("-") == expected
    assert parse_text(text) == parse_text(text, fmt) == expected


def test_holocine_prompt_is_written_as_holocine_does():
    assert to_text(CAR, "holocine") == PROMPT
    assert Screenplay("A car. This scene contains 2 shots.", SHOTS).caption == "A car."
    kept = Screenplay("This scene contains a robot.", SHOTS)
    assert to_text(kept, "holocine").count("This scene contains") == 1


def test_prompts_of_the_original_program(reference):
    for record in json.loads((reference / "golden" / "holocine_prompt_windows.json").read_text()):
        windows = record["text_cut_positions"]["shots"]
        if windows:
            screenplay = parse_text(record["prompt"])
            assert len(screenplay.shots) == len(windows)
            assert to_text(screenplay, "holocine") == record["prompt"]


captions = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=60).filter(
    lambda text: text.replace("\ufeff", " ").strip() and "[" not in text
) | st.sampled_from(["No", "12", "- a: b # c", "'quoted'", "(3 seconds later) he runs", "shots: none", "{}", "…🎬"])
shots_st = st.lists(st.builds(Shot, captions, durations_st), min_size=1, max_size=5)
screenplays = st.builds(
    Screenplay,
    captions | st.just(""),
    shots_st.map(tuple),
    fps=st.sampled_from([12, 16, 23.976]),
    width=st.integers(16, 4096),
    height=st.integers(16, 4096),
)


vocabulary = [
    "a",
    "man",
    "waits,",
    "the",
    "camera:",
    "12",
    "rain.",
    "Close-up",
    "café",
    "雨",
    "'now'",
    "3.5",
    "[character1]",
]
words = st.lists(st.sampled_from(vocabulary), min_size=1)
sentences = words.map(lambda words: "The " + " ".join(words))


@given(sentences, st.lists(st.builds(Shot, sentences, durations_st), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_sentences_survive_plain_text(caption, shots):
    screenplay = Screenplay(caption, tuple(shots))
    read = parse_text(to_text(screenplay, "text"))
    assert read == screenplay and not read.notes


@given(screenplays, st.booleans())
@settings(max_examples=200, deadline=None)
def test_round_trip(screenplay, plain):
    if plain:
        screenplay = Screenplay(screenplay.caption or "A scene.", screenplay.shots)
        try:
            text = to_text(screenplay, "text")
        except ValueError:  # "- a" is a bullet, "12." the number of a shot
            text = None
        assert text is None or parse_text(text) == screenplay
    for fmt in ("yaml", "json"):
        assert parse_text(to_text(screenplay, fmt), fmt) == screenplay
    untimed = Screenplay(screenplay.caption, tuple(Shot(shot.caption) for shot in screenplay.shots))
    assert parse_text(to_text(screenplay, "holocine"), "holocine") == untimed


def test_plain_text_does_not_drop_settings():
    for screenplay in (
        dataclasses.replace(CAR, fps=24),
        dataclasses.replace(CAR, frames=129),
        dataclasses.replace(CAR, caption=""),
        Screenplay("A car.", (Shot("[4s] is written on the door."),)),
    ):
        with pytest.raises(ValueError, match="write YAML or JSON"):
            to_text(screenplay, "text")


def test_written_files(tmp_path):
    for suffix in (".yaml", ".yml", ".json", ".txt"):
        write_screenplay(CAR, tmp_path / f"a{suffix}")
        assert read_screenplay(tmp_path / f"a{suffix}") == CAR
    write_screenplay(CAR, tmp_path / "a.holocine.txt")
    assert read_screenplay(tmp_path / "a.holocine.txt") == UNTIMED
    with pytest.raises(ValueError, match="must end in"):
        write_screenplay(CAR, tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="cannot be written"):
        write_screenplay(CAR, tmp_path / "a.json" / "a.yaml")


# ------------------------------------------------------------------------------------------------ refusing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n ", "is empty"),
        ("caption: a\nshots: []", "has no shots"),
        ("caption: a\nshots:", "has no shots"),
        ("caption: a", "has no shots"),
        ("caption: a\nshots: walk left", "must be a list"),
        ("caption: a\nshots: 5", "must be a list .* got 5"),
        ("caption: a\nshots: [1]", "shot 1: a shot must be text or a mapping .* got 1"),
        ("caption: a\nshots: [b, '']", "shot 2: a shot has no caption"),
        ("caption: a\nshots: [{duration: 3}]", "shot 1: a shot has no caption"),
        ("caption: [a]\nshots: [b]", "global caption must be text, got a list"),
        ("caption: 12\nshots: [b]", "must be text, got 12"),
        ("caption: a\nglobal_caption: a\nshots: [b]", "keep one"),
        ("caption: a\nshots: [b]\nshots: [c]", "'shots' is given twice"),
        ('{"shots": ["b"], "shots": ["c"]}', "'shots' is given twice"),
        ("caption: a\nshots: [b]\nfps: 0", "fps must be a number from 1"),
        ("caption: a\nshots: [b]\nfps: .nan", "fps must be a number from 1"),
        ("caption: a\nshots: [b]\nfps: fast", "fps must be a number, got text"),
        ("caption: a\nshots: [b]\nwidth: 8.5", "width must be a number from 16"),
        ("caption: a\nshots: [b]\nheight: 480.5", "whole number"),
        ("caption: a\nshots: [b]\nheight: true", "height must be a number, got a yes/no value"),
        ("caption: a\nshots: [b]\nframes: 1000000", "frames must be a number from 1"),
        ("caption: a\nshots: [b]\nframes: 0", "frames must be a number from 1"),
        (
            '{"shots": ["b"], "frames": 1' + "0" * 4000 + "}",
            "frames must be a number from 1 to 4801, got a huge number",
        ),
        ("caption: a\nshots: [{caption: b, duration: 0}]", "shot 1: .*positive"),
        ("caption: a\nshots: [{caption: b, duration: -1}]", "duration .* got -1"),
        ("caption: a\nshots: [{caption: b, duration: .inf}]", "duration .* got inf"),
        ("caption: a\nshots: [{caption: b, duration: long}]", "duration .* got text"),
        ('{"caption": "a", "shots": [{"caption": "b", "duration": NaN}]}', "duration .* got nan"),
        ("A.\n\n[-3s] B.", "duration .* got -3"),
        ("A.\n\n[nan s] B.", "duration .* got nan"),
        ("A.\n\n[1.2.3s] B.", "is not a number of seconds"),
        ("A.\n\nB.\n\n[4s]", "shot 2: a shot has no caption"),
        ("A.\n\n" + "B.\n\n" * 70, "at most 60 shots, got 70"),
        ("shots:\n" + "- b\n" * 70, "at most 60 shots, got 70"),
        ("A.\n\n" + "word " * 10_000, "shot 1: a shot's caption has 10000 words; 1000 is the most"),
        ("word " * 10_000 + "\n\nB.", "global caption has 10000 words"),
        ("A.\n\n" + "景" * 20_000, "has 20000 characters"),
        ("A.\n\nB. [shot cut] C.", r"holds the marker \[shot cut\]"),
        ("[global caption] A. [per shot caption] B. [shot cut] [shot cut] C.", "shot 2: a shot has no caption"),
        ("A.\n\nB.\x07", "control characters"),
        ('{"caption": "\\ud800", "shots": ["b"]}', "control characters"),
        ("PNG\0\n\nrest", "binary"),
        ("caption: a: b\nshots: [b]", "not valid YAML: mapping values are not allowed .* at line 1"),
        ("caption: !!int ''\nshots: [b]", "not valid YAML"),
        ("caption: !!python/object:os.system a\nshots: [b]", "not valid YAML"),
        ("{[]: 1}\nshots: 2", "not valid JSON"),
        ("shots: *a", "not valid YAML"),
        ('{"shots": ', "not valid JSON"),
        ('{"shots": ' + "[" * 100_000, "nested too deeply"),
        ("shots: " + "[" * 5_000, "nested too deeply"),
    ],
)
def test_bad_screenplays(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_text(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(("fmt", "text"), [("yaml", "- a"), ("yaml", "just words"), ("json", "[]"), ("json", "3")])
def test_documents_that_are_no_mapping(fmt, text):
    with pytest.raises(ValueError, match="a screenplay must be a mapping with the keys caption"):
        parse_text(text, fmt)


def test_a_date_is_a_caption():
    assert parse_text("caption: 2024-99-99\nshots: [1945-05-08]").shots == (Shot("1945-05-08"),)


def test_unknown_format():
    with pytest.raises(ValueError, match="unknown screenplay format 'pdf'"):
        parse_text("A.\n\nB.", "pdf")
    with pytest.raises(ValueError, match="HoloCine prompt reads"):
        parse_text("A.\n\nB.", "holocine")


def test_files_that_cannot_be_read(tmp_path):
    image = tmp_path / "a.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    huge = tmp_path / "huge.txt"
    huge.write_text("a" * 2_000_000)
    empty = tmp_path / "empty.yaml"
    empty.touch()
    for path, message in [
        (tmp_path / "missing.yaml", "no file .*missing.yaml"),
        (tmp_path, "is a folder"),
        (image, "is no text in UTF-8"),
        (huge, "at most 1048576 characters"),
        (empty, "empty.yaml: the screenplay is empty"),
        ("a" * 5000, "cannot be read"),
        ("a\0b", "null"),
        (tmp_path / "empty.yaml" / "b", "cannot be read"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            read_screenplay(path)
        assert "\n" not in str(caught.value)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.sampled_from(["caption", "global_caption", "shots", "fps", "width", "height", "frames", "duration"]) | leaves
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4))
pieces = st.sampled_from(
    ["caption: ", "shots:", "\n- ", "\n\n", "[4s]", "(nan s)", "[global caption]", "[per shot caption]", "[shot cut]"]
    + ["{", "}", "[", "]", '"', ": ", "!!", "!!bool ", "!!timestamp ", "!!float ", "!!map ", "!!set ", "&a ", "*a"]
    + [
        "<<: ",
        "? ",
        "| ",
        "%YAML 9",
        "---\n",
        "0x_",
        "1:2:3",
        "2024-99-99",
        "=",
        "1e999",
        "\t",
        "\x85",
        "\ufffe",
        "a man",
    ]
)
texts = st.lists(pieces | st.text(max_size=4), max_size=14).map("".join)


@given(texts | trees.map(lambda tree: yaml.dump(tree)) | trees.map(json.dumps), st.sampled_from([None, *FORMATS]))
@settings(max_examples=600, deadline=None)
def test_fuzz_only_value_errors(text, fmt):
    try:
        screenplay = parse_text(text, fmt)
    except ValueError as error:
        assert type(error) is ValueError and str(error)
        return
    assert parse_text(to_text(screenplay, "yaml"), "yaml") == screenplay


@given(data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_fuzz_bytes(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzz.bin"
    path.write_bytes(data)
    try:
        assert isinstance(read_screenplay(path), Screenplay)
    except ValueError as error:
        assert type(error) is ValueError and "fuzz.bin" in str(error)


# ------------------------------------------------------------------------------------------------ examples


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_examples_are_screenplays(path):
    screenplay = read_screenplay(path)
    assert screenplay.caption and 1 <= len(screenplay.shots) <= 4
    assert len(set(screenplay.shots)) == len(screenplay.shots)


def test_examples_show_every_format():
    names = [path.name for path in EXAMPLES]
    for suffix in (".yaml", ".json", ".txt", ".holocine.txt"):
        assert any(name.endswith(suffix) for name in names), suffix
    assert {len(read_screenplay(path).shots) for path in EXAMPLES} >= {1, 2, 3, 4}


@pytest.mark.parametrize(
    "line", ["## Shot{}x", "- {}a", "Shot 1{}", "**{}**", "[{}2s", "# a{}#b", "INT. A{}B", "a:{}b"]
)
def test_blanks_in_a_row_take_no_time(line):
    begun = time.monotonic()
    with contextlib.suppress(ValueError):
        parse_text("A hall.\n\n" + line.format(" " * 20_000) + "\n\nPan left.")
    assert time.monotonic() - begun < 3
