"""Scores of generated films of the stage: where the camera is, which colour the subject has, where the cuts are."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.encode import encode_video
from shotverse_jax.data.stage_films import film_clip
from shotverse_jax.evaluation.metrics.camera_error import camera_errors, known_poses
from shotverse_jax.evaluation.metrics.cuts import cut_f1, find_cuts, shot_cut_accuracy
from shotverse_jax.evaluation.metrics.stage_color import color_accuracy
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.denoise import decode, generate
from shotverse_jax.infer.take import prepare
from shotverse_jax.stage.scene import Scene


def score_films(
    videos: Sequence[np.ndarray],
    trajectories: Sequence[Trajectory],
    scenes: Sequence[Scene],
    estimator: Callable[[np.ndarray], np.ndarray],
) -> dict[str, float]:
    """Scores how well films follow the cameras, the subject's colour and the cuts that were asked for.

    Args:
        videos: [T, H, W, 3] uint8 each.
        trajectories: the cameras asked for, one per film, with its frames and size and a known stage; their shots give
            the cuts asked for.
        scenes: the scene of each film.
        estimator: function of a video that returns poses [T, 3, 4] in the stage's frame (`StageCamera`).

    Returns:
        the values of `camera_errors` and of `color_accuracy`, and beside them
        cut_f1, cut_f1_exact: F1 of the cuts with a tolerance of 2 frames, and with none.
        sca: `shot_cut_accuracy`.
        films: number of films.

    Raises:
        ValueError: there are no films, or a film does not fit its trajectory.
    """
    return {
        **camera_errors([estimator(video_THWC) for video_THWC in videos], trajectories),
        **color_accuracy(videos, trajectories, scenes),
        **_cut_scores(videos, trajectories),
        "films": float(len(videos)),
    }


def _cut_scores(videos, trajectories) -> dict[str, float]:
    found = [find_cuts(video_THWC) for video_THWC in videos]
    asked = [[start for start, _ in trajectory.spans[1:]] for trajectory in trajectories]
    return {
        "cut_f1": cut_f1(found, asked),
        "cut_f1_exact": cut_f1(found, asked, tolerance=0),
        "sca": shot_cut_accuracy(found, asked, [len(video_THWC) for video_THWC in videos]),
    }


def film_held_out(
    cinematographer: Cinematographer,
    estimator: Callable[[np.ndarray], np.ndarray],
    scenes: int,
    *,
    seed: int = 0,
    batch: int = 8,
    progress: Callable[[str, int, int], None] | None = None,
    **sampling,
) -> dict[str, float]:
    """Generates films of held-out scenes of the stage with their true cameras, and scores them.

    Args:
        cinematographer: the controller.
        estimator: as in `score_films`.
        scenes: number of scenes, test clips 0, 1, ….
        seed: seed of the noise; default 0.
        batch: films generated at once; default 8.
        progress: called with ("film", films made, films in all) after every batch; None (default) for no calls.
        **sampling: options of `infer.film.generate`, such as steps and guidance; by default the controller's own.

    Returns:
        the values of `score_films`, and beside them
        control_…: camera errors against the cameras of another film (`shuffled`).
        rot_ratio: median rotation error, divided by that of the control.
        render_…: camera errors of the stage's own renders, the least that the estimator can measure.
        vae_color_accuracy, vae_cut_f1, vae_sca: scores of these renders after encoding and decoding, about the best
            that a controller with this VAE can reach.
    """
    config = cinematographer.config
    size = config.frames, config.height, config.width, config.fps
    clips = [film_clip(number, "test", *size) for number in range(scenes)]
    takes = [prepare(cinematographer, clip.screenplay, clip.trajectory) for clip in clips]
    encode = jax.jit(functools.partial(encode_video, cinematographer.design.vae_config))
    videos: list[np.ndarray] = []
    coded: list[np.ndarray] = []
    for start in range(0, scenes, batch):
        # One compiled program for all batches.
        part = [min(number, scenes - 1) for number in range(start, start + batch)]
        # Each batch has a seed of its own, else all batches would start from the same noise.
        latents = generate(cinematographer, [takes[i] for i in part], seed=seed + start, **sampling)
        videos.extend(_decoded(cinematographer, latents)[: scenes - start])
        latents = encode(cinematographer.vae, np.stack([clips[i].video_THWC for i in part]))
        coded.extend(_decoded(cinematographer, latents)[: scenes - start])
        if progress is not None:
            progress("film", len(videos), scenes)
    trajectories, staged = [take.trajectory for take in takes], [clip.scene for clip in clips]
    scores = score_films(videos, trajectories, staged, estimator)
    # An error means little alone: the control says how large it is when the camera follows other instructions.
    control = camera_errors([estimator(video) for video in videos], shuffled(trajectories))
    # The estimator's own error on true renders is the floor under the error of a generated film.
    render = camera_errors([estimator(clip.video_THWC) for clip in clips], trajectories)
    most = color_accuracy(coded, trajectories, staged) | _cut_scores(coded, trajectories)
    return {
        **scores,
        "rot_ratio": scores["rot_deg_median"] / control["rot_deg_median"],
        **{f"control_{name}": value for name, value in control.items()},
        **{f"render_{name}": value for name, value in render.items()},
        **{f"vae_{name}": most[name] for name in ("color_accuracy", "cut_f1", "sca")},
    }


def _decoded(cinematographer: Cinematographer, latents_BTHWC: jax.Array) -> np.ndarray:
    """Films [B, T, H, W, 3] uint8."""
    return np.concatenate(list(decode(cinematographer, latents_BTHWC)), axis=1)


def shuffled(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Returns the control: for every film its own shots, filmed by the cameras of the next film.

    A camera that follows its instructions is much nearer to its own trajectory than to this one. The cameras keep their
    poses on the stage, shot by shot; where the next film has fewer shots, its shots are used again from the first.

    Raises:
        ValueError: there are fewer than two films, or one has no stage.
    """
    if len(trajectories) < 2:
        raise ValueError(f"to exchange cameras takes at least two films, got {len(trajectories)}")
    others = [*trajectories[1:], trajectories[0]]
    return [_with_cameras_of(own, other) for own, other in zip(trajectories, others, strict=True)]


def _with_cameras_of(own: Trajectory, other: Trajectory) -> Trajectory:
    poses = []
    for index, (start, end) in enumerate(own.spans):
        shot = other.shot(index % other.num_shots).retimed([(0, end - start)], own.fps)
        poses.append(known_poses(shot))
    # Called for its ValueError: a film without a stage has no place for the other's cameras.
    known_poses(own)
    return dataclasses.replace(own, pose_T34=se3.compose(own.stage_34, np.concatenate(poses)))
