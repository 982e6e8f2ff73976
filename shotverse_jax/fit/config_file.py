"""Training configs from a file and changes on a command line, read in the same way as by `launch.train`."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags


def read(path: str, overrides: Sequence[str] = ()) -> dict:
    """The values of a config file with changes such as "--config.batch=8".

    Raises:
        ValueError: the file does not exist, or a change names an unknown value or has the wrong type.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no config file {path}")
    arguments = ["fit", f"--config={path}", *overrides]
    # These flags are apart from absl's global ones, which belong to the program that runs and may have a --config too.
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values, sys_argv=arguments)
    try:
        values(arguments)
        return values.config.to_dict()
    except (flags.Error, AttributeError, TypeError) as error:
        raise ValueError(f"{path} with {' '.join(overrides) or 'no changes'}: {error}") from error
