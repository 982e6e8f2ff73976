"""Adapters whose weights change inside a film: shots that ask for them, frames, rules, and what compiles nothing."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models
from PIL import Image
from safetensors.numpy import save_file
from small_models import change

from shotverse_jax import cli, lora
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.cinematic.guidance import ClipLora, Compose, Composite, Switch, spread_over_shots
from shotverse_jax.cinematic.pictures import LinearPictures, VaePictures, fit_pictures
from shotverse_jax.cinematic.scorer import SCORES, CameraScorer
from shotverse_jax.conversion.styles import write_styles
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer import denoise
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.composing import Scene, compose
from shotverse_jax.infer.denoise import shot
from shotverse_jax.infer.take import prepare
from shotverse_jax.lora import Lora
from shotverse_jax.models.wan_dit import reads_of
from shotverse_jax.screenplay import write_screenplay
from shotverse_jax.views import contact_sheet

STEPS = 4


@pytest.fixture(scope="module")
def bare(controller_folder):
    """A controller whose expert of high noise makes all steps, without guidance: half the programs, half of each."""
    crew = Cinematographer.load(controller_folder)
    config = dataclasses.replace(crew.config, boundary=0.0, guidance=1.0)
    return dataclasses.replace(crew, design=dataclasses.replace(crew.design, config=config))


@pytest.fixture(scope="module")
def loras(bare):
    """Two of other ranks and linears, the second again under another name."""
    targets = ("q_proj", "k_proj", "ffn_in", "time_in", "text_in")
    a, b = {"high": change(bare.high, 0, 3, targets)}, {"high": change(bare.high, 1, 2)}
    return [Lora(name, 1.0, experts, always=False) for name, experts in (("pan-left", a), ("b", b), ("b again", b))]


@pytest.fixture(scope="module")
def crew(bare, loras):
    return bare.with_loras(loras, fold=False)


@pytest.fixture(scope="module")
def take(bare):
    example = sample_example(3, "train", num_shots=2)
    return prepare(bare, example.screenplay, example.trajectory)


def asking(take, *loras):
    """The take with these adapters in every shot, or with a list for each shot."""
    each = loras if loras and isinstance(loras[0], list) else [list(loras)] * len(take.screenplay.shots)
    shots = [
        dataclasses.replace(one, loras=tuple(asked)) for one, asked in zip(take.screenplay.shots, each, strict=True)
    ]
    return dataclasses.replace(take, screenplay=dataclasses.replace(take.screenplay, shots=tuple(shots)))


def film(crew, *takes, **options):
    return np.asarray(shot(crew, takes, seed=[3] * len(takes), steps=STEPS, **options).latents_BTHWC)


def near(one, other, tol=1e-5):
    np.testing.assert_allclose(one, other, atol=tol * np.abs(other).max())


@pytest.fixture(scope="module")
def merged(bare, loras):
    """(a, b) -> the film with the two adapters folded at these strengths, the slow way; kept."""
    made = {}

    def run(take, a, b):
        if (a, b) not in made:
            parts = [dataclasses.replace(one, weight=w) for one, w in zip(loras, (a, b), strict=False) if w]
            made[a, b] = film(bare.with_loras(parts) if parts else bare, asking(take))
        return made[a, b]

    return run


def test_one_strength_everywhere_is_the_folded_adapter(crew, take, merged):
    near(film(crew, asking(take, ("Pan left", 0.5))), merged(take, 0.5, 0))
    near(film(crew, asking(take, ("pan_left", 0.5), ("b", -0.3))), merged(take, 0.5, -0.3))
    assert np.abs(merged(take, 0.5, 0) - merged(take, 0, 0)).max() > 0.05


def test_strength_0_is_the_base_bit_for_bit(crew, bare, take, merged):
    for asked in ([("b", 0.0)], [("b", 0.0), ("Pan-Left", 0.0)], []):
        np.testing.assert_array_equal(film(crew, asking(take, *asked)), merged(take, 0, 0))
    np.testing.assert_array_equal(film(crew.weighing(0.0, 0.0, 0.0), asking(take, ("b", 1.0))), merged(take, 0, 0))


def test_a_shot_has_its_own_adapters_alone(crew, take):
    composing = compose([asking(take, [("b", 1.0)], [])], crew.adapters.names, crew.adapters.always, 4)
    weight_TN = np.asarray(composing.weights(jnp.ones((1, 4, 3))))[0]
    shots = take.layout.latent_index_T
    np.testing.assert_array_equal(weight_TN, np.stack([0 * shots, 1.0 * (shots == 0), 0 * shots], axis=1))


def test_weights_change_at_the_cut_or_over_some_frames(crew, take):
    asked = asking(take, [("b", 0.5)], [("b", 1.0), ("pan-left", None)])
    cut = int(np.argmax(take.layout.latent_index_T == 1))
    for ramp, expected in ((0, 1.0 * (take.layout.latent_index_T == 1)), (8, None)):
        composing = compose([asked], crew.adapters.names, crew.adapters.always, 4, ramp=ramp)
        weight_TN = np.asarray(composing.weights(jnp.ones((1, 4, 3))))[0]
        later_T = weight_TN[:, 0] / 0.8
        if expected is None:
            assert 0 < later_T[cut - 1] < later_T[cut] < 1 and (np.diff(later_T) >= 0).all()
        else:
            np.testing.assert_array_equal(later_T, expected.astype(np.float32))
        np.testing.assert_allclose(weight_TN[:, 1], 0.5 + 0.5 * later_T, atol=1e-6)
        assert not weight_TN[:, 2].any()
        np.testing.assert_allclose(np.asarray(composing.reach_BTK).sum(-1), 1.0)


def clip_lora(*rows, **options):
    """CLIPLoRA with a scorer that gives the pictures of shot k the scores of row k, whatever they show."""

    def score(scores_KN, pictures):
        assert pictures.shape[1:] == (8, 4, 6, 3)
        return jnp.resize(scores_KN, (len(pictures), scores_KN.shape[-1]))

    scorer = jax.tree_util.Partial(score, jnp.array(rows, jnp.float32))
    pictures = LinearPictures(np.ones((4, 3), np.float32), np.zeros(3, np.float32))
    return ClipLora(scorer, pictures, np.zeros(len(rows[0]), np.float32), every=1, **options)


@pytest.mark.parametrize("rule", [Switch(1), Composite(), clip_lora([0.0, 0.1, 0.4])], ids=lambda rule: rule.name)
def test_one_adapter_and_two_alike_are_that_adapter(crew, take, merged, rule):
    alone = merged(take, 0, 0.5)
    near(film(crew, asking(take, ("b", 0.5)), rule=rule), alone)
    # Of two alike one counts, or both with shares that have the sum 1.
    near(film(crew, asking(take, ("b", 0.5), ("b again", 0.5)), rule=rule), alone)


class Toy:
    """A scene of two films of 5 latent frames and two shots, whose network gives 10 times the sum of n share_n."""

    shot_BT = jnp.array([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]])
    asked_BKN = jnp.array([[[1, 1, 0], [0, 1, 1], [0, 0, 0]], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]], bool)

    @classmethod
    def frames(cls, share_BKN):
        return jnp.take_along_axis(share_BKN, cls.shot_BT[..., None], axis=1)

    @classmethod
    def along(cls, share_BKN):
        number_BT = (cls.frames(share_BKN) * jnp.array([10.0, 20.0, 30.0])).sum(-1)
        return jnp.broadcast_to(number_BT[..., None, None, None], (2, 5, 4, 6, 4))

    @classmethod
    def run(cls, rule, sigmas):
        """(the first number of every frame [S, B, T], the shares [S, B, K, N]) of every step."""
        share_BKN, made, used = rule.first(cls.asked_BKN), [], []
        for i, sigma in enumerate(sigmas):
            scene = Scene(
                jnp.zeros((2, 5, 4, 6, 4)), jnp.array(sigma), cls.shot_BT, cls.asked_BKN, cls.along, cls.frames
            )
            made_BTHWC, used_BKN, share_BKN = rule.step(i, share_BKN, scene)
            made.append(made_BTHWC[:, :, 0, 0, 0])
            used.append(used_BKN)
        return np.stack(made), np.stack(used)


def test_what_clip_lora_decides():
    """Its shares at every step, by the written rule; every shot by its own scores, until little noise is left."""
    rows = [[0.3, 0.25, 9.0], [9.0, 0.0, 0.1], [0.0] * 3] * 2
    made, used = Toy.run(clip_lora(*rows), (1.0, 0.8, 0.6, 0.2, 0.1))
    share_KN, odds = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]), np.exp(-np.array([[6, 5, np.inf], [np.inf, 0, 2]]))
    for i, used_BKN in enumerate(used):
        np.testing.assert_allclose(used_BKN[0, :2], share_KN, atol=1e-5)
        if i < 3:
            share_KN = 0.5 * share_KN + 0.5 * odds / odds.sum(-1, keepdims=True)
    np.testing.assert_array_equal(used[:, 1, 0], [[1, 0, 0]] * 5)
    assert not used[:, 1, 1:].any() and not used[:, 0, 2].any()
    np.testing.assert_allclose(made[0, 0], [15, 15, 15, 25, 25])
    hard, used = Toy.run(clip_lora(*rows, choose="hard"), (1.0, 0.8))
    np.testing.assert_array_equal(
        hard, [[[10, 10, 10, 20, 20], [10, 0, 0, 0, 0]], [[20, 20, 20, 20, 20], [10, 0, 0, 0, 0]]]
    )


def test_clip_lora_with_a_camera_clip_in_one_program(crew, take, tmp_path_factory):
    """Shares follow what the network scores; other phrases, means, strengths and weights of it compile nothing."""
    folder = small_models.camera_clip(tmp_path_factory.mktemp("clip"))
    (folder / SCORES).write_text(json.dumps({"clips": 20, "cosine/pan-left": 0.25}))
    # The pictures of the VAE have a test of their own: their program takes long to compile.
    matrix = LinearPictures(np.ones((4, 3), np.float32) / 8, np.full(3, 0.5, np.float32))
    options = {"every": 1, "pictures": lambda crew: matrix}
    named = Compose("cliplora", scorer=str(folder), **options)
    assert named.means == {"pan-left": 0.25} and len(named.record()["scorer"]["digest"]) == 16

    def run(compose, *asked):
        made = shot(crew, [asking(take, *asked)], seed=[3], steps=STEPS, rule=compose(crew))
        return np.asarray(made.state[-1]["used_SBKN"])[:, 0, :2]

    asked = [("b", 0.5), ("pan-left", 0.5)], [("b", 1.0)]
    used_SKN = run(named, *asked)
    np.testing.assert_allclose(used_SKN.sum(-1), 1.0, atol=1e-6)
    assert np.abs(np.diff(used_SKN[:, 0, 0])).min() > 1e-3  # pan-left, at every step
    scorer, programs = CameraScorer.load(folder), denoise._denoise._cache_size()
    loaded = Compose("cliplora", scorer=scorer.of, means=named.means, **options)
    np.testing.assert_array_equal(run(loaded, *asked), used_SKN)
    other = dataclasses.replace(scorer, params=jax.tree.map(lambda x: 1.1 * x, scorer.params))
    run(Compose("cliplora", scorer=other.of, **options), [("b again", 0.2)], [("pan-left", -1.0), ("b", 0.1)])
    assert denoise._denoise._cache_size() == programs


def test_clip_lora_without_a_network(capsys):
    line = ["film", "examples/red_coat.txt", "--compose", "cliplora", "--scorer", "nowhere", "--quiet"]
    assert cli.main(line) == 2
    said = capsys.readouterr().err
    assert "cliplora needs a CameraCLIP, which docs/cinematic.md tells how to train: no CLIP called nowhere" in said
    assert cli.main([*line[:2], "--compose", "switch", "--scorer", "nowhere"]) == 2
    assert "--scorer and --choose are for --compose cliplora" in capsys.readouterr().err


def test_clip_lora_looks_ahead():
    """The cost of an adapter is that of the film that it leads to; the decision holds for its own step."""

    def score(pictures):
        """A film that is made with a velocity of 20 shows everything, others nothing."""
        seen = pictures[:, 0, 0, 0, 0]
        return jnp.broadcast_to(jnp.where(jnp.abs(seen - 0.2) < 0.01, 1.0, 0.0)[:, None], (len(pictures), 3))

    def pictures(latents_BTHWC, index_BM):
        return jnp.take_along_axis(-latents_BTHWC[..., :3] / 100, index_BM[..., None, None, None], axis=1)

    rule = ClipLora(score, pictures, np.zeros(3, np.float32), choose="ahead", every=2)
    made, used = Toy.run(rule, (1.0, 0.8))
    np.testing.assert_array_equal(made, [[[20] * 5, [10, 0, 0, 0, 0]]] * 2)
    np.testing.assert_array_equal(used[:, 0, :2], [[[0, 1, 0], [0, 1, 0]]] * 2)


def test_composite_is_the_mean_in_every_shot():
    made, used = Toy.run(Composite(), (1.0,))
    np.testing.assert_allclose(made[0], [[15, 15, 15, 25, 25], [10, 0, 0, 0, 0]])


def test_pictures_of_the_vae(crew):
    latents_BTHWC = jax.random.normal(jax.random.key(0), (1, 3, 4, 6, 4))
    frames = np.concatenate(list(denoise.decode(crew, latents_BTHWC)), axis=1)
    called = jax.jit(lambda pictures, *args: pictures(*args))
    picked = called(VaePictures.of(crew), latents_BTHWC, jnp.array([[2, 0, 1]]))
    np.testing.assert_allclose(picked[0], frames[0, [8, 0, 4]] / 255, atol=3e-3)


def test_switch_gives_all_the_same_number_of_steps():
    asked_BKN = jnp.array([[[True, False, True], [True, True, True]]])
    turns = np.stack([Switch(2)._turn(i, asked_BKN)[0] for i in range(8)])
    np.testing.assert_array_equal(turns[:, 0].argmax(-1), [0, 0, 2, 2, 0, 0, 2, 2])
    np.testing.assert_array_equal(turns[:, 1].argmax(-1), [0, 0, 1, 1, 2, 2, 0, 0])
    assert (turns.sum(-1) == 1).all()


def test_other_shots_strengths_and_ramps_compile_nothing(crew, take):
    rule = Switch(1)
    film(crew, asking(take, ("b", 0.5)), rule=rule)
    programs = denoise._denoise._cache_size()
    for asked, ramp in (
        ([[("pan-left", 1.0)], []], 0),
        ([[], [("b", -1.0), ("pan-left", 0.1)]], 8),
        ([[("b again", None)]] * 2, 4),
    ):
        film(crew, asking(take, *asked), rule=rule, ramp=ramp)
    assert denoise._denoise._cache_size() == programs


def test_one_pass(crew, take):
    asked = asking(take, [("b", 0.5)], [("pan-left", 1.0)])
    near(film(crew, asked, guidance=2.0, one_pass=True), film(crew, asked, guidance=2.0), 1e-4)


def test_who_is_not_there(crew, take):
    with pytest.raises(
        ValueError, match=r"shot 1 asks for the adapter 'noir'; the controller has pan-left, b, b again"
    ):
        film(crew, asking(take, ("noir", None)))


def test_norm_consistency(bare):
    changes = [change(bare.high, 0), None, scaled(change(bare.high, 1, 2), 10.0)]
    balanced = lora.balanced(changes)
    assert balanced[1] is None
    path = ("blocks", "ffn_in", "adapter")

    def norms(parts):
        pairs = [dig(part.adapter, path) for part in parts if part is not None]
        return np.stack([np.linalg.norm(pair.scale * pair.a @ pair.b, axis=(-2, -1)) for pair in pairs])

    before, after = norms(changes), norms(balanced)
    np.testing.assert_allclose(after, np.broadcast_to(np.exp(np.log(before).mean(0)), after.shape), rtol=1e-4)
    [alone] = lora.balanced(changes[:1])
    np.testing.assert_allclose(norms([alone]), before[:1], rtol=1e-5)


def scaled(changes, factor):
    return dataclasses.replace(changes, adapter=jax.tree.map(lambda x: x * factor**0.5, changes.adapter))


def dig(tree, path):
    for name in path:
        tree = tree[name]
    return tree


def test_what_linears_read(bare):
    kinds = {path: reads_of(path) for path in ("blocks/self_attn/k_proj", "blocks/cross_attn/q_proj", "head", "ffn_in")}
    assert set(kinds.values()) == {"video"}
    assert {reads_of(f"blocks/cross_attn/{x}_proj") for x in "kv"} | {reads_of("text_out")} == {"text"}
    assert reads_of("time_proj") == "time"


def test_pictures():
    rng = np.random.default_rng(0)
    latents, matrix = rng.uniform(size=(2, 3, 4, 6, 5)), rng.uniform(size=(5, 3)) / 5
    video = np.repeat(np.repeat(latents @ matrix, 2, axis=2), 2, axis=3)[:, [0, 1, 1, 2, 2]]
    fitted = fit_pictures(latents, video)
    np.testing.assert_allclose(fitted.matrix_C3, matrix, atol=1e-5)
    picked = fitted(jnp.float32(latents), jnp.array([[2, 0], [1, 1]]))
    np.testing.assert_allclose(picked[0], (latents @ matrix)[0, [2, 0]], atol=1e-5)
    index = np.asarray(spread_over_shots(jnp.array([[0, 0, 0, 1, 1]]), 3, 4))
    np.testing.assert_array_equal(index[0], [[0, 1, 1, 2], [3, 3, 4, 4], [0, 0, 0, 0]])


def test_the_sheet_shows_weights_over_the_frames_of_latents():
    np.testing.assert_array_equal(contact_sheet._edges(5, 17), [0, 1, 5, 9, 13, 17])
    np.testing.assert_array_equal(contact_sheet._edges(1, 1), [0, 1])


def test_adapters_of_shots_on_the_command_line(controller_folder, tmp_path, monkeypatch, capsys):
    """Those of a file of many and a third-party one, by their names; the contact sheet and weights.json show them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    example, play, path = sample_example(5, num_shots=2), tmp_path / "play.yaml", tmp_path / "trajectory.json"
    write_screenplay(example.screenplay, play)
    write_trajectory(example.trajectory, path, "shotverse")
    noir, many = tmp_path / "noir.safetensors", tmp_path / "many.safetensors"
    pair = {"A": np.ones((2, 64), np.float32), "B": np.ones((64, 2), np.float32)}
    save_file({f"diffusion_model.blocks.1.self_attn.q.lora_{key}.weight": x for key, x in pair.items()}, noir)
    crew = Cinematographer.load(controller_folder)
    parts = [Lora(name, 0.5, {"high": change(crew.high, i)}) for i, name in enumerate(("low angle", "zoom-in"))]
    write_styles(many, parts)
    options = [
        "--lora",
        str(many),
        "--lora",
        f"noir={noir}:high",
        "--lora",
        f"spare={noir}:low",
        "--steps",
        "3",
        "--cfg",
        "1",
    ]
    options += ["--style", "low-angle 0.6, Noir", "--compose", "switch", "--every", "1", "--ramp", "8"]
    command = ["film", str(play), "--trajectory", str(path), "--model", str(controller_folder), "--out"]
    assert cli.main([*command, str(tmp_path / "out"), *options]) == 0
    assert "no shot asks for the adapter spare" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "weights.json").read_text())
    shot = {"asked": {"low angle": 0.6, "noir": 0.8}, "shares": [[1, 0], [0, 1], [1, 0]]}
    assert record == {"rule": "switch", "shots": [shot] * 2}
    with Image.open(tmp_path / "out" / "film.png") as sheet:
        assert sheet.height == 360 + round(100 * (0.32 * 2 + 0.75))
