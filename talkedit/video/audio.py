"""Sound, copied packet for packet in step with the video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av

from talkedit.errors import InputError


class AudioCopier:
    """Copies every audio track of a file into an output container, untouched.

    The source is read a second time, only as far as the video has come, so that at most a moment of sound is in
    memory. Use as a context manager.
    """

    def __init__(self, source: str | os.PathLike, output: av.container.OutputContainer) -> None:
        """Add one stream to ``output`` for each audio track of ``source``.

        Raises:
            InputError: the container cannot hold the codec.
        """
        self._container = av.open(os.path.abspath(source), metadata_errors="replace")
        self._output = output
        try:
            # Tracks that FFmpeg cannot even name (codec_context None) can be neither copied nor played.
            tracks = [s for s in self._container.streams.audio if s.codec_context is not None]
            self._streams = {s.index: copy_stream(output, s) for s in tracks}
            self._packets = self._demux(tracks)
            self._next = next(self._packets, None)
        except BaseException:
            self._container.close()
            raise

    def advance(self, seconds: float) -> None:
        """Write the packets that start up to ``seconds``."""
        while self._next is not None and float(self._next.dts * self._next.time_base) <= seconds:
            self._write()

    def finish(self) -> None:
        """Write the packets that are left."""
        while self._next is not None:
            self._write()

    def close(self) -> None:
        """Close the source."""
        self._packets.close()
        self._container.close()

    def __enter__(self) -> AudioCopier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        packet = self._next
        packet.stream = self._streams[packet.stream_index]
        self._output.mux_one(packet)
        self._next = next(self._packets, None)

    def _demux(self, tracks: list) -> Iterator[av.Packet]:
        return timed_packets(self._container, tracks)


def timed_packets(container: av.container.InputContainer, streams: list) -> Iterator[av.Packet]:
    """Packets that a muxer accepts: with a timestamp that grows within each stream; stops where the file breaks."""
    last: dict[int, int] = {}
    if not streams:
        return
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        if packet.dts is None and packet.pts is not None:
            packet.dts = packet.pts
        if packet.size == 0 or packet.dts is None or packet.dts <= last.get(packet.stream_index, packet.dts - 1):
            continue
        last[packet.stream_index] = packet.dts
        yield packet


def copy_stream(output: av.container.OutputContainer, source: av.stream.Stream) -> av.stream.Stream:
    """Add a stream for packets copied from ``source``, with its language, title and role.

    Raises:
        InputError: the container cannot hold the codec.
    """
    try:
        stream = output.add_stream_from_template(source, opaque=True)
    except ValueError:
        codec = source.codec_context.name
        suffix = Path(output.name).suffix
        raise InputError(f"a {suffix} file cannot hold the source's {codec} {source.type}; use .mkv or .mov") from None
    stream.metadata.update(source.metadata)
    stream.disposition = source.disposition
    return stream
