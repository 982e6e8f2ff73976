"""What is true of a clip, and what a text says: which texts of a batch are right for which clips.

A text is right for a clip if all that it says is true of it. Where it says something of which nothing is known for the
clip, and nothing false, it is neither right nor wrong.

Array axes: N clips, M texts, K kinds of facts.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

KINDS = ("framing", "angle", "movement", "who", "action", "sky", "text")
"""The kinds of facts: the class in each group, then who is seen, what they do, and the sky. Of clips with captions by
others the whole caption (or class) is one fact, "text"."""

Facts = Mapping[str, str]
"""Facts by their kinds; what is not known, or not said, is left out."""


def numbers(facts: Facts) -> np.ndarray:
    """Returns facts as int32 [K], a checksum of each; 0 where there is none."""
    sums = [zlib.crc32(facts[kind].encode()) | 1 if kind in facts else 0 for kind in KINDS]
    return np.array(sums, np.uint32).astype(np.int32)


def agreement(facts_NK: Any, said_MK: Any) -> tuple[Any, Any]:
    """Returns which texts are right for which clips, for arrays of NumPy or JAX.

    Args:
        facts_NK: what is true of the clips, as `numbers` returns it.
        said_MK: what the texts say.

    Returns:
        right_NM: bool, True where all that the text says is true of the clip.
        open_NM: bool, True where nothing of it is false, but something not known.
    """
    facts_N1K, said_1MK = facts_NK[:, None], said_MK[None]
    unsaid, unknown, equal = said_1MK == 0, facts_N1K == 0, facts_N1K == said_1MK
    right_NM = (unsaid | equal).all(-1)
    return right_NM, (unsaid | equal | unknown).all(-1) & ~right_NM
