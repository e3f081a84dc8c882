#!/usr/bin/env python3
"""Peak memory of an edit, against what the loaded libraries take, for a clip and the same clip looped.

    python examples/memory.py CLIP [--times 9] [--emotion happy]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av

CHILD = """
import json, resource, sys
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
import talkedit, talkedit.editor, talkedit.pipeline
from talkedit.options import EditOptions
from talkedit.report import StageClock
talkedit.editor.ClipEditor(EditOptions(), StageClock())
loaded = peak()
report = talkedit.edit_video(sys.argv[1], sys.argv[2], emotion=sys.argv[3], overwrite=True)
print(json.dumps({"frames": report.frames, "loaded_mb": round(loaded), "peak_mb": round(peak()), "fps": report.fps}))
"""


def loop(source: Path, target: Path, times: int) -> None:
    """Writes the picture of ``source`` ``times`` times over, packets copied."""
    with av.open(str(target), "w") as out:
        stream, shift = None, 0
        for _ in range(times):
            with av.open(str(source)) as clip:
                video = clip.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                end = 0
                for packet in clip.demux(video):
                    if packet.dts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    out.mux(packet)
                shift += end


def main() -> None:
    """Runs both edits in processes of their own and prints one JSON line each."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("clip", type=Path)
    p.add_argument("--times", type=int, default=9)
    p.add_argument("--emotion", default="happy")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for times in (1, args.times):
            long = Path(folder) / f"loop{times}.mp4"
            loop(args.clip, long, times)
            command = [sys.executable, "-c", CHILD, str(long), str(Path(folder) / "out.mp4"), args.emotion]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(json.dumps({"times": times, **json.loads(done.stdout.strip().splitlines()[-1])}), flush=True)


if __name__ == "__main__":
    main()
