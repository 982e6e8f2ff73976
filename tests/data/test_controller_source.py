"""What the controller's networks are given of prompts, cameras and encoded films."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.config import controller_14b, controller_small
from shotverse_jax.data.controller_source import ControllerSource
from shotverse_jax.data.records import write_dataset
from shotverse_jax.inputs.prompt import collate_prompts, tokenize_prompt
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.weights import find_tokenizer

SMALL = controller_small()
PROMPTS = (
    "[global caption] A man in a red jacket. This scene contains 2 shots. "
    "[per shot caption] Wide shot, the camera pushes in. [shot cut] Close-up, the camera pans left.",
    "[global caption] A dog. This scene contains 1 shots. [per shot caption] The camera rises.",
)


@pytest.fixture(scope="module")
def tokenizer_file():
    return find_tokenizer("planner_small")


@pytest.fixture(scope="module")
def prompts(tokenizer_file):
    tokenizer = load_text_tokenizer(tokenizer_file)
    texts = [tokenize_prompt(text, tokenizer, 512, shots) for text, shots in zip(PROMPTS, (2, 1), strict=True)]
    return [*texts, tokenize_prompt("", tokenizer, 512)]


def test_small_models_see_no_padding_and_little_of_it_is_computed(prompts):
    batch = collate_prompts(SMALL, prompts, rows=3)
    longest = max(prompt.length for prompt in prompts)
    assert batch["ids_BS"].shape == (3, -(-longest // 64) * 64) and batch["window_BKS"].shape[:2] == (3, 3)
    np.testing.assert_array_equal(batch["real_BS"].sum(1), [prompt.length for prompt in prompts])
    assert not (batch["window_BKS"] & ~batch["real_BS"][:, None]).any()
    first, second = prompts[0].shot_spans
    window_KS = batch["window_BKS"][0]
    assert window_KS[0, first[0]] and not window_KS[0, second[0]]
    assert window_KS[1, second[0]] and not window_KS[1, first[0]]
    np.testing.assert_array_equal(
        batch["window_BKS"][2], np.broadcast_to(batch["real_BS"][2], (3, longest // 64 * 64 + 64))
    )


def test_large_models_see_the_padding_as_they_were_trained(prompts):
    batch = collate_prompts(controller_14b(), prompts, rows=2)
    assert batch["ids_BS"].shape == (3, 512)
    assert batch["window_BKS"][:, :, -1].all() and batch["window_BKS"][2].all()


def test_without_windows_every_shot_reads_everything(prompts):
    batch = collate_prompts(dataclasses.replace(SMALL, windows="none"), prompts, rows=2)
    np.testing.assert_array_equal(batch["window_BKS"][:, 0], batch["real_BS"])


def test_more_shots_than_rows(prompts):
    with pytest.raises(ValueError, match="2 shots among prompts of at most 1"):
        collate_prompts(SMALL, prompts, rows=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    films = [
        {
            "latents": np.full((3, 2, 2, 4), i, np.float16),
            "pose_T34": np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1)),
            "shot_T": np.array([0, 0, 1] if i % 2 == 0 else [0, 0, 0], np.int32),
            "prompt": PROMPTS[i % 2],
        }
        for i in range(6)
    ]
    write_dataset(folder, films, {})
    return folder


def source(folder, tokenizer_file, **options):
    values = {"seed": 0, "global_batch": 4, "num_steps": 9} | options
    return ControllerSource(SMALL, str(folder), str(tokenizer_file), **values)


def test_every_film_once_per_epoch_on_any_number_of_hosts(folder, tokenizer_file):
    whole = source(folder, tokenizer_file)
    seen = np.concatenate([whole[step][1]["latents_BTHWC"][:, 0, 0, 0, 0] for step in range(3)])
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6)) and list(seen[:6]) != list(seen[6:])
    halves = [source(folder, tokenizer_file, host=host, num_hosts=2)[1][1] for host in (0, 1)]
    for name, value in whole[1][1].items():
        np.testing.assert_array_equal(value, np.concatenate([half[name] for half in halves]))
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again[2][1]["ids_BS"], whole[2][1]["ids_BS"])


def test_dropped_prompts_are_the_negative_one(folder, tokenizer_file):
    _, batch = source(folder, tokenizer_file, text_dropout=1.0)[0]
    assert (batch["real_BS"].sum(1) == 1).all() and (batch["window_BKS"].sum(2) == 1).all()
    shares = [source(folder, tokenizer_file, text_dropout=0.5)[i][1]["real_BS"].sum(1) == 1 for i in range(9)]
    assert 0.2 < np.mean(shares) < 0.8


def test_batches_divide_over_hosts(folder, tokenizer_file):
    with pytest.raises(ValueError, match="batch of 4 does not divide over 3 hosts"):
        source(folder, tokenizer_file, num_hosts=3)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), step=st.integers(0, 10**6), hosts=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_a_step_is_the_same_films_for_any_number_of_hosts(folder, tokenizer_file, seed, step, hosts):
    options = {"seed": seed, "global_batch": 12, "num_steps": step + 1, "text_dropout": 0.3}
    parts = [source(folder, tokenizer_file, host=host, num_hosts=hosts, **options)[step][1] for host in range(hosts)]
    whole = source(folder, tokenizer_file, **options)[step][1]
    for name in ("latents_BTHWC", "shot_BT", "camera_BTP"):
        np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in parts]))
    tokens = [row[real].tolist() for part in parts for row, real in zip(part["ids_BS"], part["real_BS"], strict=True)]
    assert tokens == [row[real].tolist() for row, real in zip(whole["ids_BS"], whole["real_BS"], strict=True)]


def test_films_of_several_shapes_are_refused(tokenizer_file, tmp_path):
    film = {"pose_T34": np.eye(3, 4)[None], "shot_T": np.zeros(1, np.int32), "prompt": PROMPTS[1]}
    write_dataset(tmp_path, [film | {"latents": np.zeros((1, 2, w, 4), np.float16)} for w in (2, 3)], {})
    with pytest.raises(ValueError, match="several shapes"):
        source(tmp_path, tokenizer_file)[0]


def test_the_share_of_subjects_in_every_latent(tokenizer_file, tmp_path, folder):
    mask_THW = np.zeros((1, 16, 24), np.uint8)
    mask_THW[0, :4, 8:16] = 1
    film = {
        "latents": np.zeros((1, 2, 3, 4), np.float16),
        "pose_T34": np.eye(3, 4)[None],
        "shot_T": np.zeros(1, np.int32),
        "subject_THW": mask_THW,
        "prompt": PROMPTS[1],
    }
    write_dataset(tmp_path, [film], {})
    _, batch = source(tmp_path, tokenizer_file, subjects=True)[0]
    np.testing.assert_array_equal(batch["subject_BTHW"], np.tile([[[0, 0.5, 0], [0, 0, 0]]], (4, 1, 1, 1)))
    assert "subject_BTHW" not in source(tmp_path, tokenizer_file)[0][1]
    with pytest.raises(ValueError, match="does not say where its subjects are"):
        source(folder, tokenizer_file, subjects=True)[0]
