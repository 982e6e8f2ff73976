"""Track A: which files are pairs, what is scored of them, and the command."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import small_models

from shotverse_jax import cli
from shotverse_jax.camera import motion_tags
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.evaluation.features import clatr_files
from shotverse_jax.evaluation.features.clatr import CLaTrReader
from shotverse_jax.evaluation.metrics.caption_f1 import caption_f1
from shotverse_jax.evaluation.metrics.clatr_score import clatr_score
from shotverse_jax.evaluation.metrics.frechet import frechet
from shotverse_jax.evaluation.metrics.prdc import prdc
from shotverse_jax.evaluation.tracks import track_a
from shotverse_jax.evaluation.tracks.pairs import read_pairs
from shotverse_jax.grammar.samples import sample_example

NAMES = [f"1_0000/shot_{i:04d}" for i in range(24)]


@pytest.fixture(scope="module")
def gendop(tmp_path_factory):
    """(predictions, references): GenDoP's folder and DataDoP's of the same 24 shots, in other units of length."""
    root = tmp_path_factory.mktemp("track_a")
    for number, name in enumerate(NAMES):
        true = sample_example(number, num_shots=1).trajectory
        guess = sample_example(number + (number % 3 == 0), num_shots=1).trajectory
        guess = dataclasses.replace(guess, pose_T34=guess.pose_T34 * [1, 1, 1, 0.01], stage_34=None)
        caption = {"Movement": f"motion {number // 2}", "Concise Interaction": f"story {number}"}
        for place in ("out/test", "data"):
            (root / place / name).parent.mkdir(parents=True, exist_ok=True)
            (root / place / f"{name}_caption.json").write_text(json.dumps(caption))
        write_trajectory(guess, root / "out/test" / f"{name}_transforms_pred.json", "nerfstudio")
        write_trajectory(true, root / "data" / f"{name}_transforms_cleaning.json", "nerfstudio")
        write_trajectory(true, root / "out/test" / f"{name}_transforms_ref.json", "nerfstudio")
    return root / "out", root / "data"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The folder of a small CLaTr of the published form with a text tower of its own."""
    words = [f"motion {number} story" for number in range(24)] * 2
    return small_models.clatr(tmp_path_factory.mktemp("clatr"), words)


def sides(pairs):
    return [pair.pred for pair in pairs], [pair.ref for pair in pairs]


def test_gendops_folders_are_matched_by_name(gendop):
    out, data = gendop
    found = read_pairs(out, data)
    assert [pair.name for pair in found.pairs] == NAMES and found.counts == (24, 24) and not found.left_out
    assert found.pairs[3].captions == ("motion 1",)
    assert read_pairs(out, out, "concise").pairs[3].captions == ("story 3",)
    [here], [alone] = (read_pairs(*places).pairs[:1] for places in ((out, data), (out, out)))
    np.testing.assert_allclose(here.ref.pose_T34, alone.ref.pose_T34)
    assert here.pred.pose_T34[-1, :, 3].tolist() != here.ref.pose_T34[-1, :, 3].tolist()


def test_our_plans_and_loose_files(tmp_path):
    example = next(e for seed in range(50) if (e := sample_example(seed)).trajectory.num_shots == 3)
    for place in ("a", "b"):
        write_trajectory(example.trajectory, tmp_path / place / "red coat" / "trajectory.json", "shotverse")
        (tmp_path / place / "red coat" / "cameras.json").write_text("{}")
    [pair] = read_pairs(tmp_path / "a", tmp_path / "b").pairs
    assert pair.name == "red coat" and pair.captions == example.trajectory.captions and len(pair.captions) == 3
    file = tmp_path / "a" / "red coat" / "trajectory.json"
    assert len(read_pairs(file, file).pairs) == 1
    write_trajectory(example.trajectory.shot(0), tmp_path / "c" / "x.tum.txt")
    write_trajectory(example.trajectory.shot(0), tmp_path / "d" / "x.usda")
    (tmp_path / "c" / "x_caption.txt").write_text("Push in.\n")
    [pair] = read_pairs(tmp_path / "c", tmp_path / "d").pairs
    assert pair.name == "x" and pair.captions == ("Push in.",)


def test_what_cannot_be_compared_is_said(gendop, tmp_path):
    out, data = (shutil.copytree(place, tmp_path / place.name) for place in gendop)
    (data / f"{NAMES[0]}_transforms_cleaning.json").unlink()
    (out / "test" / f"{NAMES[1]}_transforms_pred.json").write_text("{}")
    (out / "test" / f"{NAMES[2]}_caption.json").write_text("{}")
    found = read_pairs(out, data)
    assert len(found.pairs) == 21 and found.counts == (24, 23)
    assert all(name in " ".join(found.left_out) for name in NAMES[:3])
    with pytest.raises(ValueError, match="is only in"):
        read_pairs(out, data, strict=True)
    for path in data.rglob("*.json"):
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(ValueError, match="no scene of .* has a reference of its name"):
        read_pairs(out, data)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no camera paths"):
        read_pairs(out, tmp_path / "empty")
    with pytest.raises(ValueError, match="captions are movement"):
        read_pairs(out, out, "Movement")


def test_two_files_of_one_name(tmp_path):
    trajectory = sample_example(0, num_shots=1).trajectory
    for name in ("x.tum.txt", "x.usda"):
        write_trajectory(trajectory, tmp_path / name)
    with pytest.raises(ValueError, match="both cameras of x"):
        read_pairs(tmp_path, tmp_path)


def test_scores_are_those_of_the_metrics(gendop, network):
    pairs, reader = read_pairs(*gendop).pairs, CLaTrReader.load(network)
    shots = track_a.read_shots(pairs, reader)
    pred, ref = (
        np.stack([motion_tags.shot_labels(getattr(p, side).pose_T34) for p in pairs]) for side in ("pred", "ref")
    )
    np.testing.assert_array_equal(shots.ref_NF, ref)
    assert (shots.pred_NF != pred).any(), "predictions are brought to the size of their references"
    got = track_a.scores(shots)
    assert got["samples"] == 24 and 0.6 < got["captions/f1"] < 1
    assert got["captions/f1"] == caption_f1(shots.pred_NF, ref)["f1"]
    assert got["captions/mean/f1"] > got["captions/f1"]
    latents = reader.read_shots([p.ref.pose_T34 for p in pairs]).mu_ND
    np.testing.assert_allclose(shots.ref_ND, latents, atol=1e-6)
    text_ND = reader.read_captions([p.captions[0] for p in pairs]).latents.mu_ND
    assert got["clatr/clatr_score"] == clatr_score(shots.pred_ND, text_ND)["clatr_score"]
    assert got["clatr/fcd"] == frechet(shots.pred_ND, latents)["fcd"]
    parts = prdc(shots.pred_ND, latents)
    assert got["clatr/recall"] == parts["recall"] and got["clatr/coverage"] == parts["coverage"]
    # Captions come twice each, and either trajectory is right for both.
    assert shots.same_NN.sum() == 48 and got["retrieval/text_r10"] >= got["retrieval/text_r1"]
    assert len(track_a.of_each(pairs, shots)) == 24


def test_the_upstream_variant(gendop, network):
    pairs, reader = read_pairs(*gendop).pairs, CLaTrReader.load(network)
    shots = track_a.read_shots(pairs, reader, track_a.UPSTREAM, seed=1)
    rng = np.random.default_rng(1)
    drawn = [reader.read_shots([path.pose_T34 for path in side]).draw(rng) for side in sides(pairs)]
    np.testing.assert_allclose(shots.pred_ND, drawn[0], atol=1e-5)
    np.testing.assert_array_equal(shots.ref_NF, motion_tags.labels_of_shots(list(reader.decode(drawn[1]))))
    got, parts = track_a.scores(shots, track_a.UPSTREAM), prdc(shots.pred_ND, shots.ref_ND)
    assert got["clatr/recall"] == parts["recall_upstream"]
    with pytest.raises(ValueError, match="need a CLaTr"):
        track_a.read_shots(pairs, None, track_a.UPSTREAM)


@pytest.mark.parametrize(("count", "parts"), [(24, 5), (20, 5), (19, 4), (12, 3), (9, 2), (5, 1)])
def test_parts_have_four_shots(count, parts):
    assert track_a.chunks(count) == parts
    rng = np.random.default_rng(0)
    assert prdc(rng.normal(size=(count, 3)), rng.normal(size=(count, 3)), chunks=parts)["coverage"] >= 0


def test_scenes_of_several_shots(tmp_path):
    examples = [e for seed in range(30) if (e := sample_example(seed)).trajectory.num_shots in (1, 2)]
    for number, example in enumerate(examples):
        write_trajectory(example.trajectory, tmp_path / str(number) / "trajectory.json", "shotverse")
    pairs = read_pairs(tmp_path, tmp_path).pairs
    values = track_a.by_shot(track_a.read_shots(pairs))
    assert list(values) == ["all", "shot 1", "shot 2"]
    assert values["shot 1"]["samples"] == len(examples)
    assert values["all"]["samples"] == sum(e.trajectory.num_shots for e in examples)
    assert {v["captions/f1"] for v in values.values()} == {1.0}


def test_the_command(gendop, network, capsys):
    folders = [str(place) for place in gendop]
    common = ["eval", "track-a", *folders, "--clatr", str(network)]
    assert cli.main([*common, "--upstream", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clatr"] == "clatr, not CLaTr" and report["scenes"] == 24 and len(report["shots"]) == 24
    assert report["ours"]["all"]["samples"] == report["upstream"]["all"]["samples"] == 24
    assert report["ours"]["all"]["captions/f1"] != report["upstream"]["all"]["captions/f1"]
    assert cli.main([*common, "--csv", "--scale", "none"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    f1 = next(float(row["ours"]) for row in rows if row["metric"] == "captions/f1")
    assert f1 < report["ours"]["all"]["captions/f1"], "predictions a hundred times too small look static"
    assert cli.main(["eval", "track-a", folders[0], "--no-clatr", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert "samples" in shown.out and "clatr/fcd" not in shown.out and not shown.err
    assert cli.main(["eval", "track-a", "--no-clatr"]) == 2
    assert cli.main(["eval", "planner", folders[0]]) == 2
    assert "takes no folders" in capsys.readouterr().err


def test_unequal_sets_are_cautioned(gendop, network, tmp_path, capsys):
    data = shutil.copytree(gendop[1], tmp_path / "data")
    (data / f"{NAMES[5]}_transforms_cleaning.json").unlink()
    assert cli.main(["eval", "track-a", str(gendop[0]), str(data), "--clatr", str(network)]) == 0
    said = capsys.readouterr().err
    assert "24 predictions and 23 references" in said and f"{NAMES[5]} is only in" in said
    assert "FCD of 23 shots" not in said, "16 dimensions are fewer than the shots"


def test_features_of_a_folder_with_resume(gendop, network, tmp_path, monkeypatch):
    monkeypatch.setattr(clatr_files, "PART", 10)
    command = ["clatr", "features", str(gendop[0]), "--clatr", str(network), "--out", str(tmp_path / "f"), "--quiet"]
    assert cli.main(command) == 0
    parts = sorted((tmp_path / "f").glob("*.npz"))
    arrays = clatr_files.read_features(tmp_path / "f")
    assert len(parts) == 3 and arrays["scene"].tolist() == [f"test/{name}" for name in NAMES]
    reader = CLaTrReader.load(network)
    pred = read_trajectory(gendop[0] / "test" / f"{NAMES[7]}_transforms_pred.json")
    np.testing.assert_allclose(arrays["traj_mu"][7], reader.read_shots([pred.pose_T34]).mu_ND[0], atol=1e-5)
    text = reader.read_captions(["motion 3"]).latents
    np.testing.assert_allclose(arrays["text_logvar"][7], text.logvar_ND[0], atol=1e-5)
    before = parts[0].stat().st_mtime_ns
    parts[1].unlink()
    with pytest.raises(ValueError, match="features_00001.npz is missing"):
        clatr_files.read_features(tmp_path / "f")
    assert cli.main(command) == 0
    assert parts[0].stat().st_mtime_ns == before and parts[1].is_file()
    assert cli.main([*command, "--caption", "concise"]) == 2
    assert cli.main(["clatr", "features", str(tmp_path / "f"), "--out", str(tmp_path / "g")]) == 2
    assert not (tmp_path / "g").exists()
