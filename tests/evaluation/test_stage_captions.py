"""Scores of captions: the truth itself, another move, another size."""

import numpy as np

from shotverse_jax.data.captioner_source import Clip, StageClips
from shotverse_jax.evaluation.tracks.stage_captions import caption_held_out, score_captions

TRUTHS = [
    "The camera pans left. Medium shot, eye level: a man in a blue jacket, centred.",
    "The camera moves forward. Medium shot, high angle: a red car, frame left. It ends as a close-up.",
    "The camera moves left while panning right. Wide shot, eye level: a white dog, frame right.",
]


def clips(captions):
    return [Clip(np.zeros((1, 1, 1, 3), np.uint8), np.zeros(1), caption) for caption in captions]


def test_scores_by_hand():
    right = score_captions(clips(TRUTHS), TRUTHS)
    assert all(right[name] == 1 for name in ("move", "size", "angle", "position", "move_and_size", "agreement"))
    assert right["swapped"] < 0.6 and right["clips"] == 3
    said = [TRUTHS[0].replace("left", "right"), TRUTHS[1].replace("Medium shot", "Wide shot"), "Nothing."]
    scores = score_captions(clips(TRUTHS), said)
    assert (scores["move"], scores["size"], scores["first_size"]) == (1 / 3, 1 / 3, 2 / 3)
    assert (scores["move_and_size"], scores["move_of_1"], scores["move_of_2"]) == (0, 0.5, 0)


def test_held_out_previews_are_captioned_in_order():
    class Knows:
        """Answers with the truth of the previews that it is shown one after the other."""

        def __init__(self):
            self.truths = [clip.caption for clip in StageClips("test", 16, 8, 16, variants=False).pick(5, range(3))]

        def captions(self, clips, samples, temperature):
            assert all(clip.shape == (16, 48, 80, 3) for clip in clips)
            return [[self.truths.pop(0)] for _ in clips]

    assert caption_held_out(Knows(), 3, seed=5)["move_and_size"] == 1
