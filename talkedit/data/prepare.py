"""``talkedit prepare``: a data set's folder in; tracked, fitted and unwrapped faces with a manifest out.

A run that is stopped goes on where it was when the same command is given again, and ends with the same files as one
that was never stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from talkedit.data.folders import find_ffhq, find_folder
from talkedit.data.item import Found, Settings, make_units
from talkedit.data.mead import VIEWS, find_mead
from talkedit.data.open_recipe import find_open
from talkedit.data.people import MEAD_PEOPLE, read_people
from talkedit.data.pool import run_units
from talkedit.data.records import LEFT_OUT, PreparedFolder
from talkedit.device import cores
from talkedit.errors import InputError, NoFaceError

Progress = Callable[[str, int, "int | None"], None]
_INTERRUPTED = 130
_SMALLEST, _LARGEST = 16, 2048  # pixels a side of textures and mouth crops


def prepare(
    found: Found, root: Path, out: Path, settings: Settings, processes: int = 1, progress: Progress | None = None
) -> Counter:
    """Prepares items and writes the manifest.

    Args:
        found: the items (see `find_mead`, `find_ffhq`, `find_folder`, `find_open`).
        root: the data set's folder.
        out: the prepared folder; what it holds already is not done again.
        settings: how to prepare; the same as before if ``out`` was begun before.
        processes: how many to run at once.
        progress: called with ("prepare", items done, items in all).

    Returns:
        How many items were "kept", and how many were left out for each reason.

    Raises:
        InputError: ``out`` cannot be used.
        TalkeditError: a process cannot start, or the disk is full.
    """
    if out.resolve() == root.resolve() or root.resolve() in out.resolve().parents:
        raise InputError(f"the output '{out}' lies in the data set's own folder; name another")
    folder = PreparedFolder(out, settings)
    folder.remove_partial()
    units = make_units(found.items, root)
    open_units = [u for u in units if folder.result(u, retry=True) is None]
    total = len(found.items)
    count = total - sum(len(u.items) for u in open_units)

    def show(items: int) -> None:
        nonlocal count
        count += items
        if progress is not None:
            progress("prepare", count, total)

    show(0)
    run_units(open_units, root, out, settings, min(processes, max(len(open_units), 1)), show)
    results = [r for r in map(folder.result, units) if r is not None]
    folder.write_manifest(results, found.left_out)
    reasons = Counter(x.reason for x in found.left_out)
    for result in results:
        reasons["kept"] += len(result.rows)
        reasons.update(x.reason for x in result.left_out)
    return reasons


def summary(reasons: Counter) -> str:
    """``kept 7 of 10; left out: 2 no face, 1 unreadable``."""
    rest = {k: n for k, n in reasons.items() if k != "kept"}
    text = f"kept {reasons['kept']} of {sum(reasons.values())}"
    if rest:
        text += "; left out: " + ", ".join(f"{n} {k}" for k, n in sorted(rest.items(), key=lambda x: (-x[1], x[0])))
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``talkedit prepare``.

    Raises:
        InputError: an option or a folder is wrong.
        NoFaceError: nothing could be kept.
    """
    from talkedit.cli import progress_bars

    options = _parser().parse_args(arguments)
    settings = _settings(options)
    found = _found(options)
    try:
        with progress_bars(options.quiet) as progress:
            reasons = prepare(found, options.root, options.output, settings, options.processes, progress)
    except KeyboardInterrupt:
        print("talkedit: interrupted; give the same command again to go on", file=sys.stderr)
        return _INTERRUPTED
    if not options.quiet:
        print(f"{options.output}: {summary(reasons)}")
    if not reasons["kept"]:
        raise NoFaceError(f"nothing could be kept; see {options.output / LEFT_OUT}")
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="talkedit prepare", description="Prepare training data; docs/data.md tells what comes out.")
    recipes = parser.add_subparsers(dest="recipe", metavar="RECIPE", required=True, parser_class=_Parser)
    mead = _recipe(recipes, "mead", "MEAD: PERSON/video/VIEW/EMOTION/level_N/NNN.mp4")
    mead.add_argument("--people", type=Path, default=MEAD_PEOPLE, metavar="FILE",
                      help="CSV with the columns person and part: seen, unseen (default: 39 and 8)")  # fmt: skip
    mead.add_argument("--views", default=",".join(VIEWS), metavar="A,B,...", help="views to take (default: all seven)")
    _recipe(recipes, "ffhq", "FFHQ: 00000/00000.png; large pose, occlusion and harsh light are dropped")
    folder = _recipe(recipes, "folder", "any videos and pictures: EMOTION/FILE or PERSON/EMOTION/FILE")
    folder.add_argument("--labels", type=Path, metavar="FILE",
                        help="CSV with the columns path, person, emotion and optionally level and split")  # fmt: skip
    folder.add_argument("--people", type=Path, metavar="FILE", help="CSV with the columns person and part")
    _recipe(recipes, "open", "the data of the shipped weights: mead/ london/ expressive/ portraits/ faces_open.zip")
    return parser


def _recipe(recipes, name: str, text: str) -> argparse.ArgumentParser:
    usual = Settings(name)
    parser = recipes.add_parser(name, help=text, description=text)
    parser.add_argument("root", type=Path, metavar="ROOT", help="the data set's folder")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the prepared folder")
    parser.add_argument("--processes", type=int, default=cores(), metavar="N", help="default: all cores")
    parser.add_argument("--every", type=int, default=usual.every, metavar="N",
                        help="keep one of so many frames of a clip (default %(default)s; all are tracked)")  # fmt: skip
    parser.add_argument("--texture-every", type=int, default=usual.texture_every, metavar="N",
                        help="unwrap one of so many kept frames (default %(default)s)")  # fmt: skip
    for option, what in (("--texture-size", "textures"), ("--mouth-size", "mouth crops")):
        value = getattr(usual, option[2:].replace("-", "_"))
        parser.add_argument(option, type=int, default=value, metavar="N", help=f"side of {what} (default {value})")
    parser.add_argument("--face-model", default=usual.face_model, metavar="NAME|PATH", help="default open")
    parser.add_argument(
        "--tracker", default=usual.tracker, metavar="NAME", help="mediapipe (default) or face-alignment"
    )
    parser.add_argument("--min-frames", type=int, default=usual.min_frames, metavar="N",
                        help="drop shorter clips (default %(default)s)")  # fmt: skip
    parser.add_argument("--min-face-share", type=float, default=usual.min_face_share, metavar="X",
                        help="drop clips with a face in fewer of their frames (default %(default)s)")  # fmt: skip
    parser.add_argument("--min-face-width", type=int, default=usual.min_face_width, metavar="N",
                        help="drop smaller faces, pixels (default %(default)s)")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    from talkedit.track import TRACKERS

    if options.processes < 1:
        raise InputError(f"--processes must be at least 1, not {options.processes}")
    for name in ("every", "texture_every", "min_frames", "min_face_width"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(options, name)}")
    for name in ("texture_size", "mouth_size"):
        if not _SMALLEST <= getattr(options, name) <= _LARGEST:
            raise InputError(f"--{name.replace('_', '-')} must be from {_SMALLEST} to {_LARGEST}, "
                             f"not {getattr(options, name)}")  # fmt: skip
    if not 0 < options.min_face_share <= 1:
        raise InputError(f"--min-face-share must be above 0 and at most 1, not {options.min_face_share:g}")
    if options.tracker not in TRACKERS:
        raise InputError(f"unknown tracker '{options.tracker}'; there are: {', '.join(TRACKERS)}")
    return Settings(**{name: getattr(options, name) for name in Settings("").as_dict()})


def _found(options: argparse.Namespace) -> Found:
    root = options.root
    if options.recipe == "mead":
        views = tuple(part.strip() for part in options.views.split(",") if part.strip())
        return find_mead(root, read_people(options.people), views)
    if options.recipe == "ffhq":
        return find_ffhq(root)
    if options.recipe == "folder":
        return find_folder(root, options.labels, read_people(options.people) if options.people else None)
    return find_open(root)
