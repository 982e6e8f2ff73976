"""`shotverse gendop`: checkpoints with all published names, GenDoP's files and folders, splits that go on, mistakes."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

import shotverse_jax
from gendop_names import Sizes, published
from shotverse_jax import cli
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.tokens.gendop import BOS, EOS, FIRST_BIN, GenDoPTokenizer
from shotverse_jax.config import CLIPTextConfig, CLIPVisionConfig, GenDoPConfig, GenDoPTokenConfig, OPTConfig
from shotverse_jax.infer.gendop import look
from shotverse_jax.infer.gendop_work import write_prediction
from shotverse_jax.weights import abstract, export

PUBLISHED = GenDoPTokenConfig()
WORDS = ["!", "<|startoftext|>", "the", "camera", "moves", "right", "left", ".", "<|endoftext|>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gendop")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="!"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(folder / "case_rgb.png")
    np.save(folder / "case_depth.npy", rng.random((20, 30)).astype(np.float32))
    captions = {"Movement": "The camera moves right.", "Concise Interaction": "The camera moves left to the cup."}
    (folder / "case_caption.json").write_text(json.dumps(captions))
    return folder


def run(*args):
    return cli.main(["gendop", *map(str, args), "--quiet"])


def small(folder, drawn, name="small", **kinds):
    """A network of one layer that reads text, image and depth, or what `kinds` says."""
    conditions = {
        "text": CLIPTextConfig(20, 16, 1, 2, 16, 6),
        "vision": CLIPVisionConfig(16, 1, 2, 16, 4, 8),
        "decoder": OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=340),
    }
    config = GenDoPConfig(**conditions | kinds)
    if not (folder / name).is_dir():
        tokenizer = folder / "tokenizer.json" if config.text else None
        export("gendop", drawn(abstract("gendop", config), 1), config, folder / name, tokenizer_file=tokenizer)
    return folder / name


@pytest.mark.parametrize(("kind", "count"), [("motion", 571), ("rgbd", 1613)])
def test_a_published_checkpoint_from_file_to_path(tmp_path, folder, capsys, kind, count):
    """All names of the release, at small widths: nothing is missing or too much, and the folder is ready."""
    shapes = published(kind == "rgbd", Sizes(words=len(WORDS), positions=6, vocabulary=260, places=350))
    rng = np.random.default_rng(0)
    save_file({n: rng.normal(0, 0.2, s).astype(np.float32) for n, s in shapes.items()}, tmp_path / "text.safetensors")
    assert len(shapes) == count
    network = f"gendop-text-{kind}"
    given = ["--as", network, "--out", tmp_path / "model", "--tokenizer", folder / "tokenizer.json", "--quiet"]
    assert cli.main(["convert", str(tmp_path / "text.safetensors"), *map(str, given)]) == 0
    asked = ["--text", "The camera moves right."]
    if kind == "rgbd":
        asked = ["--text-path", folder / "case_caption.json", "--image", folder / "case_rgb.png"]
        asked += ["--depth", folder / "case_depth.npy"]
    out = tmp_path / "out"
    assert run("--model", tmp_path / "model", *asked, "--out", out, "--name", "text/case1", "--no-preview") == 0
    names = {path.name for path in (out / "text").iterdir()}
    own = {"case1_transforms_pred.json", "case1_traj.png", "case1_result.json"}
    seen = {"case1_caption.json", "case1_rgb.png", "case1_depth.png"} if kind == "rgbd" else {"case1_caption.txt"}
    assert names == own | seen
    made = json.loads((out / "text" / "case1_transforms_pred.json").read_text())
    assert list(made) == ["w", "h", "fl_x", "fl_y", "cx", "cy", "frames"] and len(made["frames"]) == 120
    assert (made["w"], made["h"], made["cx"], made["cy"]) == (512, 512, 256, 256)
    assert [frame["monst3r_im_id"] for frame in made["frames"]] == list(range(1, 121))
    record = json.loads((out / "text" / "case1_result.json").read_text())
    assert record["caption"] == ("The camera moves left to the cup." if kind == "rgbd" else "The camera moves right.")
    assert look(tmp_path / "model") == (("depth+image+text", True) if kind == "rgbd" else ("text", False))
    # Motion and directorial checkpoints have the same tensors; the conversion knows which caption it was trained on.
    manifest = tmp_path / "model" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("gendop-text-motion", "gendop-text-directorial"))
    assert look(tmp_path / "model").directorial
    assert run("--model", tmp_path / "text.safetensors", *asked, "--out", out) == 2
    assert "is a checkpoint; make a folder of it first: shotverse convert" in capsys.readouterr().err


def test_the_file_of_the_original(reference, tmp_path):
    """Frames of *_transforms_pred.json as GenDoP writes them for the same tokens."""
    for record in json.loads((reference / "golden/gendop_tokens.json").read_text()).values():
        ids = np.concatenate([[BOS], np.ravel(record["tokens"]) + FIRST_BIN, [EOS]])
        write_prediction(GenDoPTokenizer(PUBLISHED, "none").decode(ids, first_camera=False), tmp_path / "pred.json")
        made = json.loads((tmp_path / "pred.json").read_text())
        for frame in (0, 60, 119):
            matrix = np.array(made["frames"][frame]["transform_matrix"])[:3]
            np.testing.assert_allclose(matrix.ravel(), record[f"resampled_frame_{frame}"], atol=2e-6)
        intrinsics = [made[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")]
        np.testing.assert_allclose(intrinsics, record["decoded_intr"], atol=1e-4)


@pytest.mark.parametrize("mode", ["image", "image+text", "image+depth"])
def test_modes_of_a_network_with_all_towers(tmp_path, folder, drawn, capfd, mode):
    """A part of the towers can be used, and a note says what is left out; the Python call gives the same path."""
    model = small(folder, drawn)
    given = {"image": folder / "case_rgb.png"}
    if "text" in mode:
        given["text"] = "The camera moves right."
    if "depth" in mode:
        given["depth"] = folder / "case_depth.npy"
    asked = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    command = ["gendop", "--model", str(model), *asked, "--out", str(tmp_path), "--no-preview", "--no-plot"]
    assert cli.main(command) == 0
    assert f"made for depth+image+text; in the mode {mode} it sees less than that" in capfd.readouterr().err
    written = read_trajectory(tmp_path / "case_transforms_pred.json")
    [path] = shotverse_jax.gendop(**given, model=model)
    ours = se3.relative(path.pose_T34[0], path.pose_T34)
    theirs = se3.relative(written.pose_T34[0], written.pose_T34)
    np.testing.assert_allclose(theirs, ours, atol=1e-6)


def test_a_network_without_text_needs_no_tokenizer(tmp_path, folder, drawn, capsys):
    model = small(folder, drawn, "image", text=None, depth=False)
    image = folder / "case_rgb.png"
    one, two = shotverse_jax.gendop(image=image, model=model, samples=2, pred_scale="pow10")
    assert len(one) == 120 and np.abs(one.pose_T34 - two.pose_T34).max() > 0
    assert run("--model", model, "--mode", "image+depth", "--image", image, "--out", tmp_path) == 2
    assert "the mode image+depth needs --depth FILE" in capsys.readouterr().err
    assert run("--model", model, "--text", "moves right", "--out", tmp_path) == 2
    assert "this GenDoP is one of image; it has not the towers of text" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def dataset(folder, root, shots):
    for shot in shots:
        (root / "test" / shot).parent.mkdir(parents=True, exist_ok=True)
        for end in ("_caption.json", "_rgb.png", "_depth.npy"):
            (root / "test" / f"{shot}{end}").write_bytes((folder / f"case{end}").read_bytes())
        (root / "test" / f"{shot}_transforms_cleaning.json").write_text("{}")
    (root / "test_valid.txt").write_text("".join(f"{shot}\n" for shot in shots))


def test_a_split_that_goes_on(tmp_path, folder, drawn, capsys):
    """Names and folders are those that GenDoP's evaluation reads; what is there is not made again."""
    shots = ["1_0000/shot_0001", "1_0000/shot_0002", "1_0001/shot_0001"]
    dataset(folder, tmp_path / "data", [*shots, "1_0001/shot_0002"])
    (tmp_path / "data/test/1_0001/shot_0002_depth.npy").unlink()
    model = small(folder, drawn)
    command = ["--model", model, "--data", tmp_path / "data", "--out", tmp_path / "out", "--no-plot"]
    assert run(*command) == 3
    assert "3 made in" in capsys.readouterr().out
    for shot in shots:
        stem = tmp_path / "out" / "test" / shot
        assert json.loads(stem.with_name(f"{stem.name}_transforms_ref.json").read_text()) == {}
        ends = ("_transforms_pred.json", "_caption.json", "_rgb.png", "_depth.png", "_result.json")
        assert all(stem.with_name(f"{stem.name}{end}").is_file() for end in ends)
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"test/{shot}" for shot in [*shots, "1_0001/shot_0002"]]
    assert "there is no depth of test/1_0001/shot_0002" in lines[-1]["error"]
    # One file less, one caption changed, and the missing depth there: those two are made, the other two are not.
    kept = tmp_path / "out" / "test" / f"{shots[0]}_transforms_pred.json"
    before = kept.read_bytes()
    captions = tmp_path / "data" / "test" / f"{shots[1]}_caption.json"
    captions.write_text(json.dumps({"Concise Interaction": "right"}))
    (tmp_path / "data/test/1_0001/shot_0002_depth.npy").write_bytes((folder / "case_depth.npy").read_bytes())
    assert run(*command) == 0
    assert "2 made in" in (out := capsys.readouterr().out) and "2 were there" in out
    assert kept.read_bytes() == before
    # Samples have folders of their own, and replace nothing that is not theirs.
    assert run(*command, "--samples", 2) == 0
    assert (tmp_path / "out" / "sample_1" / "test" / f"{shots[0]}_transforms_pred.json").is_file()
    assert not kept.is_file()  # that of the earlier settings


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--text", "a", "--depth", "d.npy"], "no mode of GenDoP takes text and depth"),
        (["--model", "nowhere", "--text", "a"], "nowhere"),
        (["--mode", "image+text"], "say which network with --model"),
        (["--model", "MODEL", "--text-path", "none.json"], "none.json does not exist"),
        (["--model", "MODEL", "--text", "a", "--name", "../a"], "a name of results is like case1"),
        (["--model", "MODEL", "--mode", "text"], "the mode text needs --text or --text-path"),
        (["--model", "MODEL", "--data", "nowhere"], "nowhere has no shots"),
        (
            ["--model", "MODEL", "--text-path", "CAPTIONS", "--text-key", "Mood"],
            "has no caption 'Mood'; it has Movement",
        ),
        (["--model", "MODEL", "--image", "CAPTIONS"], "cannot be read as a picture"),
    ],
)
def test_mistakes(tmp_path, folder, drawn, capsys, args, words):
    places = {"MODEL": small(folder, drawn), "CAPTIONS": folder / "case_caption.json"}
    assert run(*[places.get(arg, arg) for arg in args], "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
