"""Lists of the people a model may learn from and of those it is tested on."""

from __future__ import annotations

import csv
from pathlib import Path

from talkedit.errors import InputError

# The 47 people of MEAD that are in general use. The paper tests on eight of them and names five: M035, M037, M039, W037
# and W040. M040, M041 and M042 are our choice, from the people that other published work on MEAD keeps for its tests.
MEAD_PEOPLE = Path(__file__).with_name("mead_people.csv")
PARTS = ("seen", "unseen")


def read_people(path: Path) -> dict[str, str]:
    """Person → "seen" or "unseen", from a CSV file with the columns ``person`` and ``part``.

    Raises:
        InputError: the file cannot be read, a column is missing, or a part is neither of the two.
    """
    out: dict[str, str] = {}
    for number, row in enumerate(read_table(path, ("person", "part")), start=2):
        if row["part"] not in PARTS:
            raise InputError(f"line {number} of '{path}' says '{row['part']}'; a person is either seen or unseen")
        out[row["person"]] = row["part"]
    return out


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header, every value stripped and never None.

    Raises:
        InputError: the file cannot be read, is no CSV text, or lacks one of ``columns``.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [c for c in columns if c not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"'{path}' has no column '{missing[0]}'; it needs {', '.join(columns)}")
            return [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"'{path}' cannot be read: {reason}") from error
