"""Settings of a training run, read from a JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from talkedit.errors import InputError

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], path: Path | None) -> Settings:
    """A dataclass of numbers, strings and booleans: its defaults, with what a JSON file changes.

    Raises:
        InputError: the file cannot be read, or names a setting that does not exist or has another type.
    """
    if path is None:
        return kind()
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"the configuration '{path}' cannot be read ({error})") from error
    defaults = asdict(kind())
    for name, value in values.items():
        if name not in defaults:
            raise InputError(f"'{path}': there is no setting '{name}'; there are {', '.join(defaults)}")
        kinds = (int, float) if isinstance(defaults[name], float) else (type(defaults[name]),)
        if type(value) not in kinds:
            raise InputError(f"'{path}': '{name}' must be a {kinds[-1].__name__}, not {value!r}")
    return kind(**values)
