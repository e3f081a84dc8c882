"""What one process of ``talkedit prepare`` does: units in, files out."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from talkedit.data.item import Item, LeftOut, Settings, Unit
from talkedit.data.manifest import Row
from talkedit.data.records import CRASH, PreparedFolder, Result
from talkedit.errors import InputError, TalkeditError

_CRASHED = "the process that read it died (damaged file, or out of memory)"


def work(connection: Connection, root: Path, out: Path, settings: Settings) -> None:
    """Runs in a process of its own until the parent closes the connection.

    Messages to the parent: ("ready",), then for each unit ("at", key) before each item and ("done", items); or
    ("failed", sentence) when going on makes no sense.
    """
    # The parent sees Ctrl-C too and ends its workers; should it be killed, they must not outlive it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if not os.environ.get("TALKEDIT_DEBUG"):  # as on the command line: libraries complain about each other
        warnings.simplefilter("ignore")
    try:
        _use_one_thread()
        from talkedit.data.extract import Extractor

        extractor, folder = Extractor(settings), PreparedFolder(out, settings)
        connection.send(("ready",))
        while True:
            unit = connection.recv()
            prepare_unit(unit, root, folder, extractor, lambda key: connection.send(("at", key)))
            connection.send(("done", len(unit.items)))
    except (EOFError, BrokenPipeError):
        return
    except TalkeditError as error:
        connection.send(("failed", str(error)))


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _use_one_thread() -> None:
    """Processes are the parallelism; threads of libraries inside them would only fight for the cores."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def prepare_unit(
    unit: Unit, root: Path, folder: PreparedFolder, extractor, at: Callable[[str], None] = lambda key: None
) -> None:
    """Prepares the items of a unit and writes its file and record.

    Args:
        unit: a clip or a batch of pictures.
        root: the data set's folder.
        folder: where to write.
        extractor: a `talkedit.data.extract.Extractor` of the folder's settings.
        at: told each key before it is touched.

    Raises:
        TalkeditError: the files cannot be written.
    """
    from talkedit.data.extract import UnfitError

    rows: list[Row] = []
    left_out: list[LeftOut] = []
    parts: list[dict[str, np.ndarray]] = []
    frames = textures = 0
    for item in unit.items:
        if item.key in unit.crashed:
            left_out.append(LeftOut(item.key, "broken", CRASH, _CRASHED))
            continue
        at(item.key)
        try:
            digest, made = _extract(root, item, extractor, frames)
        except UnfitError as unfit:
            left_out.append(LeftOut(item.key, "filtered", unfit.reason, unfit.detail))
            continue
        except InputError as error:
            left_out.append(LeftOut(item.key, "broken", "unreadable", _sentence(error, root)))
            continue
        except Exception as error:  # one strange file must not end a run of days
            left_out.append(LeftOut(item.key, "broken", "unexpected error", f"{type(error).__name__}: {error}"))
            continue
        parts.append(made.arrays)
        count, textured = len(made.arrays["frame"]), len(made.arrays["texture"])
        rows.append(
            Row(item.key, item.split, item.person, item.emotion, item.level, item.view, folder.file_of(unit),
                frames, count, textures, textured, round(made.face_width, 1), round(made.yaw, 1), digest)
        )  # fmt: skip
        frames, textures = frames + count, textures + textured
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]} if parts else {}
    folder.save(unit, arrays, Result(rows, left_out))


def _extract(root: Path, item: Item, extractor, first: int):
    from talkedit.data.source import read_item_picture, source_hash

    digest = source_hash(root, item)
    made = extractor.clip(root / item.key) if item.clip else extractor.picture(read_item_picture(root, item))
    made.arrays["texture_row"] += first
    return digest, made


def _sentence(error: Exception, root: Path) -> str:
    """An error's text with paths below the data set's folder, so that it does not depend on where that lies."""
    return str(error).replace(f"{root}{os.sep}", "")
