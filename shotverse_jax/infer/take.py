"""What is to be filmed: a screenplay, its cameras over the film's own frames, and its layout."""

import dataclasses

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera.motion_words import LEAST_ZOOM
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.inputs.prompt import PromptWindows, tokenize_prompt, tokenize_screenplay
from shotverse_jax.screenplay import Layout, Screenplay


@dataclasses.dataclass(frozen=True)
class Take:
    """What is to be filmed.

    Attributes:
        screenplay: what happens.
        trajectory: its cameras, over the film's own frames and image size.
        layout: the shots of the film in frames and latent frames.
        plan: the cameras that were asked for, before they were fitted to the film.
        notes: one sentence for everything that was changed to make them fit.
        prompt: the screenplay as the text encoder reads it.
        negative: what guidance steers away from, in the same form.
    """

    screenplay: Screenplay
    trajectory: Trajectory
    layout: Layout
    plan: Trajectory
    notes: tuple[str, ...]
    prompt: PromptWindows
    negative: PromptWindows

    @property
    def shot_lengths(self) -> tuple[int, ...]:
        """Latent frames of every shot."""
        return tuple(int(n) for n in np.bincount(self.layout.latent_index_T))


def prepare(
    cinematographer: Cinematographer,
    screenplay: Screenplay,
    trajectory: Trajectory,
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    negative: str | None = None,
) -> Take:
    """Fits a trajectory to the film that will be made; the take's notes have a sentence for each thing it changed.

    Every shot keeps its share of the film and its whole camera path, so that a shorter film is a faster one.

    Args:
        cinematographer: who will film it; its weights may be missing.
        screenplay: what happens.
        trajectory: cameras of this screenplay, over any number of frames.
        frames: of the film, snapped to 4t+1; None takes the screenplay's, or the controller's own number if that is
            less.
        size: (height, width) in pixels; None takes the controller's own.
        negative: the prompt that guidance steers away from; None takes the controller's own.

    Raises:
        ValueError: another number of shots than the screenplay's, a size that the networks cannot make, too few frames
            for the shots, or a prompt longer than the text encoder reads.
    """
    config, plan, notes = cinematographer.config, trajectory, []
    if trajectory.num_shots != len(screenplay.shots):
        raise ValueError(
            f"the trajectory has {trajectory.num_shots} shots and the screenplay {len(screenplay.shots)}; "
            "give a trajectory of this screenplay"
        )
    size = size or (config.height, config.width)
    height, width = (limits.whole(side, "height and width", 1, limits.SIDE) for side in size)
    if height % cinematographer.block or width % cinematographer.block or min(height, width) <= 0:
        raise ValueError(f"height and width must be multiples of {cinematographer.block}, got {height}x{width}")
    whole = screenplay.layout()
    wanted = min(whole.num_frames, config.frames)
    if frames is not None:
        wanted = limits.whole(frames, "the frames of a film", 1, limits.FRAMES)
    layout = whole.scaled(wanted)
    if frames and layout.num_frames != frames:
        notes.append(f"{layout.num_frames} frames instead of {frames}: films have 4t+1 frames")
    fps = screenplay.fps
    if layout.num_frames != whole.num_frames:
        fps = config.fps
        notes.append(f"{whole.num_frames} frames become {layout.num_frames} at {fps:g} fps, every camera path whole")
    if list(trajectory.spans) != list(layout.spans) or not trajectory.even:
        if not trajectory.even:
            notes.append(
                f"the trajectory's {len(trajectory)} poses have uneven times; every shot was resampled evenly in time"
            )
        elif len(trajectory) != whole.num_frames:
            notes.append(f"the trajectory's {len(trajectory)} poses are spread over {layout.num_frames} frames")
        trajectory = trajectory.retimed(layout.spans, fps)
    unseen = ["its zoom"] * (trajectory.zoom > LEAST_ZOOM) + ["its focus"] * (trajectory.focus_T2 is not None)
    if unseen:
        notes.append(f"controllers read where the camera is; the trajectory's lens is not filmed: {', '.join(unseen)}")
    trajectory = dataclasses.replace(
        trajectory.resized(width, height),
        captions=tuple(shot.caption for shot in screenplay.shots),
        global_caption=screenplay.caption,
    )
    tokenizer, length = cinematographer.design.tokenizer, config.text_length
    prompt = tokenize_screenplay(screenplay, tokenizer, length)
    unwanted = tokenize_prompt(config.negative if negative is None else negative, tokenizer, length)
    return Take(screenplay, trajectory, layout, plan, tuple(notes), prompt, unwanted)


def still(screenplay: Screenplay) -> Trajectory:
    """Returns a camera that does not move over the frames of a screenplay, for where no other is known yet."""
    layout = screenplay.layout()
    return Trajectory(
        pose_T34=np.tile(np.eye(3, 4), (layout.num_frames, 1, 1)),
        intrinsics_T4=np.array([screenplay.width, screenplay.width, screenplay.width / 2, screenplay.height / 2]),
        width=screenplay.width,
        height=screenplay.height,
        shot_T=np.repeat(np.arange(len(layout.spans)), [end - start for start, end in layout.spans]),
        fps=screenplay.fps,
    )
