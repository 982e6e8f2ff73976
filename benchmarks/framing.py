"""Framing rewards a second, on this machine's own devices: `python -m benchmarks.framing`."""

import argparse
import functools
import time

import jax
import numpy as np

from shotverse_jax.camera.framing import framing_reward


def main() -> None:
    """Prints the rate of whole batches after the program is compiled."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("batch", 1024), ("frames", 120), ("joints", 22), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    pose = np.zeros((args.batch, args.frames, 3, 4), np.float32)
    pose[..., :3], pose[..., 3] = np.eye(3), rng.normal(size=(args.batch, args.frames, 3)) + [0, 0, -4]
    joint = rng.normal(size=(args.batch, args.frames, args.joints, 3)).astype(np.float32)
    lens, height = np.array([1, 1.4, 0.5, 0.5], np.float32), np.full(args.batch, 1.7, np.float32)
    reward = jax.jit(functools.partial(framing_reward, lens_T4=lens))
    arrays = jax.device_put((pose, joint, height))
    run = lambda: reward(arrays[0], joint_TJ3=arrays[1], height=arrays[2]).block_until_ready()  # noqa: E731
    run()
    begun = time.monotonic()
    for _ in range(args.repeats):
        run()
    rate = args.batch * args.repeats / (time.monotonic() - begun)
    shape = f"{args.frames} frames x {args.joints} joints, {args.batch} at once"
    print(f"{rate:.0f} trajectories a second ({shape}, {jax.device_count()} {jax.devices()[0].platform})")


if __name__ == "__main__":
    main()
