"""Text tokenizers: a byte-level BPE learned from captions, for planners trained from scratch, and reading others."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from shotverse_jax.files import reading, replacing

PAD = 0
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<shot>", "<reserved_0>", "<reserved_1>", "<reserved_2>", "<reserved_3>")
PIN = "tokenizer.sha256"
TYPOGRAPHY = (("[\u2018\u2019]", "'"), ("[\u201c\u201d]", '"'), ("[\u2010-\u2015]", "-"), (r"\s+", " "))


def train_text_tokenizer(
    captions: Iterable[str], vocab_size: int, special: Sequence[str] = SPECIAL_TOKENS
) -> Tokenizer:
    """Learns a byte-level BPE. The same captions in the same order give the same tokenizer.

    Text is brought to NFC, lower case ("Dolly In" = "dolly in"), plain quotes and dashes, and single spaces. Every
    digit is a token, and every byte has a token, so no text is unknown. The first ids are those of `special`; 0 is
    padding.

    Raises:
        ValueError: `vocab_size` is too small for the special tokens and the 256 bytes.
    """
    least = len(special) + 256
    if vocab_size < least:
        raise ValueError(f"a byte-level vocabulary needs at least {least} entries, got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    replace = [normalizers.Replace(Regex(pattern), plain) for pattern, plain in TYPOGRAPHY]
    tokenizer.normalizer = normalizers.Sequence(
        # The blank in front makes the first word of a text the same token as in the middle of a sentence.
        [normalizers.NFC(), normalizers.Lowercase(), *replace, normalizers.Strip(), normalizers.Prepend(" ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(special),
        # With all bytes no text is unknown. They are sorted because they get their ids in this order.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def learned_tokenizer(
    path: Path, captions: Callable[[], Iterable[str]], vocab_size: int, special: Sequence[str] = SPECIAL_TOKENS
) -> Path:
    """Returns the tokenizer.json of a run, which is learned and written if it is not there yet.

    captions: returns the texts that it is learned from. Other arguments and errors as `train_text_tokenizer`.
    """
    if not path.exists():
        tokenizer = train_text_tokenizer(captions(), vocab_size, special)
        with replacing(path) as place:
            tokenizer.save(str(place))
    return path


def stage_captions(sample: Callable, count: int) -> Iterator[str]:
    """Iterates over the captions of the first `count` training examples.

    `sample(seed, "train")` returns an example with a `.screenplay`.
    """
    for seed in range(count):
        screenplay = sample(seed, "train").screenplay
        yield screenplay.caption
        yield from (shot.caption for shot in screenplay.shots)


def load_text_tokenizer(path: str | Path) -> Tokenizer:
    """Reads a `tokenizer.json`, ours or Qwen's. "<pad>" and other special tokens in a caption are plain text for it.

    Raises:
        ValueError: the file does not exist.
    """
    if not Path(path).is_file():
        raise ValueError(f"no tokenizer at {path}: expected a tokenizer.json file")
    with reading(path, "a tokenizer.json"):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def pin_tokenizer(path: str | Path, folder: str | Path) -> None:
    """Writes the SHA-256 of a run's text tokenizer into its folder, or compares it with the one that is there.

    A network that goes on with other token ids would learn nonsense, without any error. A run without the note gets
    one: at its first start, or if it is older than these notes.

    Args:
        path: the tokenizer.json.
        folder: folder of the training run.

    Raises:
        ValueError: the run was started with another tokenizer.
    """
    note = Path(folder) / PIN
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if not note.exists():
        with replacing(note) as place:
            place.write_text(digest + "\n", encoding="utf-8")
    elif note.read_text(encoding="utf-8").strip() != digest:
        raise ValueError(
            f"the run in {folder} was started with another text tokenizer than {path}: put that one back (its SHA-256 "
            f"is in {note.name}), or start a run in a new folder"
        )
