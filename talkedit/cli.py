"""The command line. Each command is a parser function and a run function; options are shared in groups."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import talkedit
from talkedit.errors import InputError, TalkeditError
from talkedit.options import DEVICES, GEOMETRIES, PARTS, PHOTOMETRIC, RECONSTRUCTIONS, REFINE, TEXTURES

Progress = Callable[[str, int, "int | None"], None]

# Developer commands; those whose module is absent are not offered.
_TRAIN = ("talkedit.train", ("face_model", "linear", "picture_reader", "geometry", "reconstruction", "teeth",
                             "texture", "tgan", "encoder", "classifier", "directions", "occluders"))  # fmt: skip
_TOOLS = {  # name: (module with a main(arguments), help)
    "prepare": ("talkedit.data.prepare", "prepare training data (for developers)"),
    "evaluate": ("talkedit.metrics.evaluate", "measure edited clips against their sources"),
}
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed, 2 bad input, 3 no usable face, 130 interrupted)."""
    debug = bool(os.environ.get("TALKEDIT_DEBUG"))
    with _terminate_like_interrupt(), warnings.catch_warnings():
        if not debug:  # what libraries deprecate among themselves is nothing a user can act on
            warnings.simplefilter("ignore")
        try:
            arguments = build_parser().parse_args(argv)
            return arguments.run(arguments) or 0
        except TalkeditError as error:
            return _fail(error, error.exit_code)
        except KeyboardInterrupt:
            return _fail("interrupted; nothing was written", _INTERRUPTED)
        except BrokenPipeError:  # the reader of our output went away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if debug:
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            return _fail(f"unexpected error: {reason} (set TALKEDIT_DEBUG=1 to see where)", 1)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="talkedit", description="Change the emotion of a talking-head video.")
    parser.add_argument("--version", action="version", version=f"talkedit {talkedit.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_edit(commands)
    _add_compare(commands)
    _add_inspect(commands)
    _add_demo(commands)
    _add_ui(commands)
    _add_models(commands)
    _add_train(commands)
    for name, (module, text) in _TOOLS.items():
        if _exists(module):
            _add_tool(commands, name, module, text)
    return parser


class _Parser(argparse.ArgumentParser):
    """Usage errors in one sentence, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"talkedit: {message} (see {self.prog} --help)\n")


# ---- edit and compare


def _add_edit(commands) -> None:
    parser = commands.add_parser("edit", help="edit the emotion of a video or picture")
    _input_output(parser)
    what = parser.add_argument_group("what")
    what.add_argument("--emotion", metavar="NAME", help="happy, angry, sad, surprised, fear, disgusted, contempt; "
                      "neutral takes an emotion out; or a mix such as happy@0.5+surprised@0.3")  # fmt: skip
    what.add_argument("--intensity", default=1.0, help="0 to 1, up to 1.5 to exaggerate (default 1.0)")
    what.add_argument("--timeline", metavar="TEXT|FILE", help="such as '0:neutral, 1.5:happy@0.8, 4:sad'")
    _editing(parser)
    parser.add_argument("--mark", action="store_true", help="draw 'edited: NAME' into a corner")
    _writing(parser)
    parser.set_defaults(run=_run_edit)


def _add_compare(commands) -> None:
    parser = commands.add_parser("compare", help="show several emotions side by side in a labelled grid")
    _input_output(parser)
    what = parser.add_argument_group("what")
    what.add_argument("--emotions", required=True, metavar="A,B,...", help="emotions to show")
    what.add_argument("--intensities", default="1.0", metavar="X,Y,...", help="intensities of each (default 1.0)")
    _editing(parser)
    _writing(parser)
    parser.set_defaults(run=_run_compare)


def _input_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a video or picture")
    parser.add_argument("-o", "--output", required=True, metavar="OUTPUT", help="a video (.mp4 .mov .mkv .webm) for a "
                        "video, a picture (.png .jpg) for a picture")  # fmt: skip


def _editing(parser: argparse.ArgumentParser) -> None:
    """Options that become `EditOptions`."""
    group = parser.add_argument_group("how")
    group.add_argument("--au", default="", metavar="AUn=X,...", help="action units of FACS on top, or alone, such as "
                       "AU12=0.8,AU4=0.5")  # fmt: skip
    group.add_argument("--start", type=float, metavar="S", help="edit from this second on")
    group.add_argument("--end", type=float, metavar="S", help="edit up to this second")
    group.add_argument("--only", choices=PARTS, help="leave out the other part of the edit")
    group.add_argument("--geometry", choices=GEOMETRIES, help="what moves the face: the GAN (default with "
                       "the open face model) or learned directions (default with any other)")  # fmt: skip
    group.add_argument("--texture", choices=TEXTURES, default="tgan", help="what changes the skin: the texture GAN "
                       "(default) or learned ratio maps")  # fmt: skip
    group.add_argument("--refine", nargs="?", type=int, const=REFINE, default=0, metavar="STEPS", help="fit the "
                       f"texture GAN to the speaker first, seconds a shot (default {REFINE} steps)")  # fmt: skip
    group.add_argument("--no-smooth", action="store_true", help="do not smooth the edit over time")
    group.add_argument("--no-furrows", action="store_true", help="do not draw the sharp lines of brows and forehead")
    group.add_argument("--no-classifier", action="store_true", help="do not weigh directions by the person")
    group.add_argument("--no-teeth", action="store_true", help="do not fill opened mouths")
    group.add_argument("--no-calm", action="store_true", help="leave the speaker's own emotion under the new one")
    group.add_argument("--face-model", default="open", metavar="NAME|PATH", help="face model (default open)")
    _tracking(group)
    group.add_argument("--device", choices=DEVICES, default="auto", help="where networks run (default auto)")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (default 0)")


def _tracking(group, reconstructions: tuple[str, ...] = RECONSTRUCTIONS) -> None:
    group.add_argument("--face", type=_face, default="largest", metavar="largest|N", help="which face to take")
    group.add_argument("--tracker", default="mediapipe", metavar="NAME", help="mediapipe (default) or face-alignment")
    group.add_argument("--reconstruction", choices=reconstructions, default="fit", help="coefficients by fitting the "
                       "landmarks (default) or from the picture by a network; inspect also refines the fit until its "
                       "rendering looks like the picture (photometric, seconds a frame)")  # fmt: skip


def _writing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--crf", type=int, default=16, metavar="N", help="quality, 0 to 51, default 16, lower is better")
    group.add_argument("--report", metavar="FILE", help="write a JSON report")
    group.add_argument("--overwrite", action="store_true", help="replace an existing output")
    _quiet(group)


def _quiet(group) -> None:
    group.add_argument("--quiet", action="store_true", help="no progress and no notes")


def _options(arguments: argparse.Namespace) -> dict:
    """Keyword arguments shared by edit_video and compare_video."""
    same = ("au", "start", "end", "only", "geometry", "texture", "refine", "face_model", "tracker", "face",
            "reconstruction", "device", "threads", "seed", "crf", "overwrite")  # fmt: skip
    stages = ("smooth", "classifier", "furrows", "teeth", "calm")
    switched_off = {name: not getattr(arguments, f"no_{name}") for name in stages}
    return {name: getattr(arguments, name) for name in same} | switched_off


def _run_edit(arguments: argparse.Namespace) -> int:
    from talkedit.emotions import check_intensity

    if (arguments.emotion is None) == (arguments.timeline is None) and (arguments.emotion or not arguments.au):
        raise InputError("give either --emotion or --timeline")
    _check_report(arguments)
    with progress_bars(arguments.quiet) as progress:
        report = talkedit.edit_video(
            arguments.input,
            arguments.output,
            emotion=arguments.emotion,
            intensity=check_intensity(arguments.intensity),
            timeline=arguments.timeline,
            mark=arguments.mark,
            progress=progress,
            **_options(arguments),
        )
    return _conclude(report, arguments)


def _run_compare(arguments: argparse.Namespace) -> int:
    from talkedit.emotions import check_intensity

    _check_report(arguments)
    with progress_bars(arguments.quiet) as progress:
        report = talkedit.compare_video(
            arguments.input,
            arguments.output,
            emotions=_parts(arguments.emotions),
            intensities=[check_intensity(text) for text in _parts(arguments.intensities)],
            progress=progress,
            **_options(arguments),
        )
    return _conclude(report, arguments)


def _conclude(report, arguments: argparse.Namespace) -> int:
    if arguments.report:
        try:
            Path(arguments.report).write_text(report.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            raise TalkeditError(f"the report '{arguments.report}' could not be written: {error.strerror}") from None
    if not arguments.quiet:
        for note in report.notes:
            print(f"note: {note}", file=sys.stderr)
        speed = f", {report.ms_per_frame:.0f} ms a frame" if report.ms_per_frame else ""
        print(f"{arguments.output}: {report.frames} frames, {report.edited_frames} edited{speed}")
    return 0


def _check_report(arguments: argparse.Namespace) -> None:
    """Refuse a report path that cannot work before minutes are spent."""
    if not arguments.report:
        return
    path = Path(arguments.report)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"the report '{path}' cannot be written: it is a folder or lies in a missing one")
    if any(os.path.realpath(path) == os.path.realpath(other) for other in (arguments.input, arguments.output)):
        raise InputError("the report must not be the input or the output")


# ---- inspect and demo


def _add_inspect(commands) -> None:
    parser = commands.add_parser("inspect", help="tell what a file holds and what the tracker sees")
    parser.add_argument("input", metavar="INPUT", help="a video or picture")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--coefficients", metavar="FILE", help="also write identity, expression, texture, pose and light (.npz)"
    )
    _tracking(parser, (*RECONSTRUCTIONS, PHOTOMETRIC))
    _quiet(parser)
    parser.set_defaults(run=_run_inspect)


def _run_inspect(arguments: argparse.Namespace) -> int:
    from talkedit.inspect import inspect_media

    with progress_bars(arguments.quiet) as progress:
        facts = inspect_media(arguments.input, tracker=arguments.tracker, face=arguments.face, progress=progress)
    if arguments.coefficients:
        _write_coefficients(arguments)
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        for line in _lines(facts):
            print(line)
    return 0


def _write_coefficients(arguments: argparse.Namespace) -> None:
    import numpy as np

    from talkedit.reconstruct.clip import reconstruct_clip

    target = Path(arguments.coefficients)
    if target.suffix != ".npz" or not target.parent.is_dir():
        raise InputError(f"--coefficients needs the name of an .npz file in an existing folder, not '{target}'")
    arrays = reconstruct_clip(
        arguments.input, tracker=arguments.tracker, face=arguments.face, reconstruction=arguments.reconstruction
    )
    partial = target.with_name(f".{target.stem}.partial.npz")
    try:
        np.savez(partial, **arrays)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _lines(facts: dict, indent: str = "") -> Iterator[str]:
    """Nested facts as aligned text."""
    for key, value in facts.items():
        label = key.replace("_", " ")
        if isinstance(value, dict):
            yield f"{indent}{label}"
            yield from _lines(value, indent + "  ")
        else:
            text = ", ".join(map(str, value)) or "none" if isinstance(value, (list, tuple)) else value
            yield f"{indent}{label:<22}{text}"


def _add_demo(commands) -> None:
    parser = commands.add_parser("demo", help="make and edit a synthetic clip, to see that everything works")
    parser.add_argument("-o", "--output", default="talkedit-demo", metavar="DIR", help="default talkedit-demo")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    _quiet(parser)
    parser.set_defaults(run=_run_demo)


def _run_demo(arguments: argparse.Namespace) -> int:
    from talkedit.demo import run

    with progress_bars(arguments.quiet) as progress:
        written = run(Path(arguments.output), seed=arguments.seed, progress=progress)
    for path in written:
        print(path)
    return 0


def _add_ui(commands) -> None:
    parser = commands.add_parser("ui", help="edit on a page in the browser (needs gradio)")
    parser.add_argument("--port", type=int, metavar="N", help="of 127.0.0.1 (default: the first free from 7860 up)")
    parser.set_defaults(run=_run_ui)


def _run_ui(arguments: argparse.Namespace) -> int:
    from talkedit.ui import serve

    return serve(arguments.port)


# ---- models


def _add_models(commands) -> None:
    parser = commands.add_parser("models", help="list, check or convert face models and networks")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_Parser)
    actions.add_parser("list", help="what ships, its licence and its training data").set_defaults(run=_run_models_list)
    actions.add_parser("check", help="whether files and optional packages are there").set_defaults(
        run=_run_models_check
    )
    convert = actions.add_parser("convert", help="make a face model for --face-model from a release")
    convert.add_argument("model", choices=("bfm", "ict"), help="Basel Face Model 2009, or ICT-FaceKit")
    convert.add_argument("folder", nargs="?", metavar="DIR", help="where its files are (default: the bfm folder)")
    convert.add_argument("-o", "--output", metavar="DIR", help="existing folder to write to (default: the bfm folder, "
                         "where --face-model looks)")  # fmt: skip
    convert.set_defaults(run=_run_models_convert)


def _run_models_convert(arguments: argparse.Namespace) -> int:
    from talkedit.facemodel.convert import CONVERTERS
    from talkedit.resources import folders

    home = next((place for place in folders("bfm") if place.is_dir()), Path("bfm"))
    source, target = (Path(given) if given else home for given in (arguments.folder, arguments.output))
    for place in (source, target):
        if not place.is_dir():
            raise InputError(f"the folder '{place}' does not exist")
    if not os.access(target, os.W_OK):
        raise InputError(f"the folder '{target}' cannot be written to; choose another with -o")
    model, written = CONVERTERS[arguments.model](source, target)
    figures = json.loads(model.meta["figures"])
    for path in written:
        print(path)
    print(f"{model.meta['vertices']} vertices; half of the keypoints are found from the other half to "
          f"{figures['left_out_mean']} % of the outer-eye distance on average")  # fmt: skip
    return 0


def _run_models_list(arguments: argparse.Namespace) -> int:
    from talkedit.resources import manifest

    entries = manifest()
    if not entries:
        print("no manifest of shipped models was found")
    for name, entry in sorted(entries.items()):
        print(f"{name}: {entry.get('what', '')}")
        print(f"    {entry.get('bytes', 0) / 1e6:.1f} MB, licence {entry.get('licence', 'unknown')}, "
              f"trained on {entry.get('trained_on', 'nothing')}")  # fmt: skip
    return 0


def _run_models_check(arguments: argparse.Namespace) -> int:
    from talkedit.extras import EXTRAS
    from talkedit.resources import check_files, manifest

    if not manifest():
        print("no manifest of shipped models was found")
    states = check_files()
    for state in states:
        print(f"{state.state:<8} {state.name}  ({state.detail})")
    for extra in EXTRAS:
        version = extra.version()
        detail = f"optional package for {extra.needed_for}; {version or extra.install}"
        print(f"{'present' if version else 'missing':<8} {extra.package}  ({detail})")
    broken = [state.name for state in states if state.state != "present" and not state.optional]
    if broken:
        raise TalkeditError(f"missing or wrong: {', '.join(broken)}")
    return 0


# ---- developer commands


def _add_train(commands) -> None:
    package, names = _TRAIN
    stages = [name for name in names if _exists(f"{package}.{name}")]
    if not stages:
        return
    parser = commands.add_parser("train", help="train a part (for developers)")
    parser.add_argument("stage", choices=stages, help="what to train; talkedit train STAGE --help tells more")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=lambda arguments: _call(f"{package}.{arguments.stage}", arguments.rest))


def _add_tool(commands, name: str, module: str, text: str) -> None:
    """A command that hands all its arguments to the ``main`` of a module."""
    # With another prefix character even --help is left to the module.
    parser = commands.add_parser(name, help=text, add_help=False, prefix_chars="\0")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(run=lambda arguments: _call(module, arguments.rest))


def _call(module: str, arguments: list[str]) -> int:
    return importlib.import_module(module).main(arguments) or 0


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


# ---- helpers


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Progress | None]:
    """A callback that draws one bar a stage on a terminal, None elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, object] = {}

        def update(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield update


@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """Let a polite kill clean up as Ctrl-C does. Only the main thread may set signal handlers."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _face(text: str) -> str | int:
    if text == "largest":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither 'largest' nor a number") from None


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _fail(message: object, code: int) -> int:
    print(f"talkedit: {message}", file=sys.stderr)
    return code
