"""Decodes many images on all cores.

Each helper process is a plain interpreter that imports no torch. It is sent one chunk at a time
over a pipe, and writes the pixels to a file that all processes map. This process decodes chunks
too, and hashes finished images as it goes, so that the digest is ready soon after the last image.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ablate import environment
from ablate.data.decoding import USUAL_GROUND, DecodingError, decode, glance
from ablate.data.discovery import shown
from ablate.data.image_cache import Room
from ablate.data.source import Array, Digest, Part, Source, fingerprint
from ablate.errors import AblateError

Place = str | tuple[str, str, int, int]
"""Where an encoded image is: a path; or file, column, row group and row of a parquet file."""

_CHUNK = 64  # images handed over at a time
_FEW = 500  # images that are decoded before another process could start
_MANY = 2000  # images that take long enough to show progress
_TOLD = 5  # faults in one message
_GLANCES = 64  # images to look at when guessing whether all are grey
_ANOTHER_SIZE = "another size"  # a kind of fault


@dataclass(frozen=True)
class Encoded:
    """A data set of encoded images.

    Attributes:
        places: Part -> where its images are.
        labels: Part -> int64 [N].
        classes: Names of the classes, in the order of their labels.
    """

    places: Mapping[str, Sequence[Place]]
    labels: Mapping[str, Array]
    classes: tuple[str, ...]

    def without(self, part: str, bad: Sequence[int]) -> Encoded:
        """Leave out some images of a part, by their numbers."""
        out = set(bad)
        kept = [place for n, place in enumerate(self.places[part]) if n not in out]
        labels = np.delete(self.labels[part], sorted(out))
        return replace(
            self,
            places={**self.places, part: kept},
            labels={**self.labels, part: labels},
        )


@dataclass(frozen=True)
class Fault:
    """An image that does not decode.

    Attributes:
        part: Its part.
        number: Its number there.
        kind: The reason in a few words.
        message: The reason in a sentence, with the name of the file.
    """

    part: str
    number: int
    kind: str
    message: str


@dataclass(frozen=True)
class Decoded:
    """The images after decoding.

    Attributes:
        parts: The images that decoded.
        classes: Names of the classes.
        digest: Their digest, still without their contents; None if some did not decode.
        places: Part -> where they were.
        sums: Part -> uint64 [N], a sum over each image's pixels; equal images have equal sums.
        faults: The images that did not decode and are left out.
    """

    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    digest: Digest | None
    places: Mapping[str, Sequence[Place]]
    sums: Mapping[str, Array]
    faults: tuple[Fault, ...] = ()

    def source(self, parts: Mapping[str, Part], notes: Sequence[str]) -> Source:
        """Give the data set.

        Args:
            parts: Its parts, with the content hashes that they are split by.
            notes: `Source.notes`.
        """
        digest = "" if self.digest is None else self.digest.finished(parts)
        return Source(parts, self.classes, tuple(notes), digest)


class SizesError(AblateError):
    """Images have several sizes, and no common size was asked for."""


class _ColouredError(Exception):
    """An image has colours, though all were thought to be grey."""


def decode_all(
    encoded: Encoded, room: Room, settings: Mapping[str, Any], *, skip: bool = False
) -> Decoded:
    """Decode all images of a data set: to one channel if all of them are grey, else to RGB.

    Args:
        encoded: The data set.
        room: Where to put its images.
        settings: Arguments of `decoding.decode` except `channels`; with `size` None, all images
            must have the size of the first.
        skip: Whether to leave out images that do not decode.

    Raises:
        AblateError: An image does not decode and `skip` is False (the first few are named); or
            there is no room for them; or `background` is given and no image is translucent.
        SizesError: Images have several sizes.
    """
    if settings.get("background") not in (None, USUAL_GROUND) and not _any_translucent(encoded):
        raise AblateError("data.background touches nothing: no image has transparent parts")
    grey = _seem_grey(encoded)
    try:
        found = _Decoding(encoded, room, settings, 1 if grey else 3, skip).run()
    except _ColouredError:
        room.clear()
        found = _Decoding(encoded, room, settings, 3, skip).run()
    return found


def _seem_grey(encoded: Encoded) -> bool:
    """Look at a sample of the images."""
    everywhere = [place for places in encoded.places.values() for place in places]
    some = everywhere[:: max(1, len(everywhere) // _GLANCES)]
    return all(found is None or found.grey for _, raw in contents(some) if (found := glance(raw)))


def _any_translucent(encoded: Encoded) -> bool:
    """Look through the images until one may have transparent parts."""
    everywhere = [place for places in encoded.places.values() for place in places]
    seen = (glance(raw) for _, raw in contents(everywhere))
    return any(found is not None and found.translucent for found in seen)


class _Decoding:
    """One pass over all images."""

    def __init__(
        self,
        encoded: Encoded,
        room: Room,
        settings: Mapping[str, Any],
        channels: int,
        skip: bool,
    ) -> None:
        self._encoded, self._room, self._skip = encoded, room, skip
        self._settings = {**settings, "channels": channels}
        self._faults: list[Fault] = []
        self._coloured = False
        self._names = sorted(encoded.places)  # the order of the digest
        self._done: dict[tuple[str, int], int] = {}
        self._content = {
            name: np.zeros((len(places), 16), np.uint8) for name, places in encoded.places.items()
        }
        self._sums = {
            name: np.zeros(len(places), np.uint64) for name, places in encoded.places.items()
        }

    def run(self) -> Decoded:
        shape = self._shape()
        arrays = {
            name: self._room.images(name, (len(self._encoded.places[name]), *shape))
            for name in self._names
        }
        parts = {
            name: Part(
                np.moveaxis(arrays[name], -1, 1), self._encoded.labels[name], self._content[name]
            )
            for name in self._names
        }
        digest = Digest(parts)
        self._fill(arrays, digest)
        if self._coloured:
            raise _ColouredError
        if not self._faults:
            ordered = {name: parts[name] for name in self._encoded.places}
            classes, places = self._encoded.classes, self._encoded.places
            return Decoded(ordered, classes, digest, places, self._sums)
        faults = sorted(self._faults, key=lambda f: (f.part, f.number))
        told = [fault.message for fault in faults if fault.kind != _ANOTHER_SIZE]
        if told and not self._skip:
            raise AblateError(*told[:_TOLD])
        if len(told) < len(faults):
            other = [fault.message for fault in faults if fault.kind == _ANOTHER_SIZE]
            raise SizesError(*other[:_TOLD])
        return self._rest(arrays, faults)

    def _shape(self) -> tuple[int, int, int]:
        """Decode images until one works; all must have its size."""
        for name in self._names:
            for _, raw in contents(self._encoded.places[name]):
                try:
                    channels, height, width = decode(raw, **self._settings).shape
                except DecodingError:
                    continue
                return height, width, channels
        nothing: list[Fault] = []
        for name in self._names:
            chunk = self._encoded.places[name][:_TOLD]
            nothing += _decoded(chunk, (1, 1, 1), name, 0, self._settings)[0].faults
        raise AblateError(*(fault.message for fault in nothing[:_TOLD]))

    def _fill(self, arrays: Mapping[str, Array], digest: Digest) -> None:
        chunks: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
        order = [
            (name, start, min(start + _CHUNK, len(self._encoded.places[name])))
            for name in self._names
            for start in range(0, len(self._encoded.places[name]), _CHUNK)
        ]
        for chunk in order:
            chunks.put(chunk)
        total = sum(len(places) for places in self._encoded.places.values())
        helpers = [_Helper(self, chunks, arrays) for _ in range(self._helpers(total))]
        try:
            with _bar(total) as bar:
                while not self._stops:
                    try:
                        chunk = chunks.get_nowait()
                    except queue.Empty:
                        break
                    self._take(chunk, arrays)
                    digest.advance(self._prefix(order))
                    bar.update(sum(self._done.values()) - bar.n)
                for helper in helpers:
                    while helper.is_alive() and not self._stops:
                        helper.join(0.02)
                        digest.advance(self._prefix(order))
                        bar.update(sum(self._done.values()) - bar.n)
                # Chunks that killed helpers gave back.
                while not self._stops and not chunks.empty():
                    self._take(chunks.get(), arrays)
                bar.update(sum(self._done.values()) - bar.n)
        finally:
            for helper in helpers:
                helper.close()

    def _helpers(self, total: int) -> int:
        """Tell how many helper processes are worth starting."""
        if not self._room.mapped or total < _FEW:
            return 0
        return min(environment.cores() - 1, total // _FEW)

    @property
    def _stops(self) -> bool:
        if self._coloured or (not self._skip and len(self._faults) >= _TOLD):
            return True
        return any(fault.kind == _ANOTHER_SIZE for fault in self._faults)

    def _prefix(self, order: Sequence[tuple[str, int, int]]) -> int:
        """Count how many images, starting with the first, are finished without a gap."""
        ready = 0
        for name, start, stop in order:
            if (name, start) not in self._done:
                break
            ready += stop - start
        return ready

    def _take(self, chunk: tuple[str, int, int], arrays: Mapping[str, Array]) -> None:
        name, start, stop = chunk
        places, images = self._encoded.places[name][start:stop], arrays[name]
        found, pixels = _decoded(places, images.shape[1:], name, start, self._settings)
        _put(pixels, images, start)
        self.note(chunk, found)

    def note(self, chunk: tuple[str, int, int], found: _Chunk) -> None:
        """Note the results of a chunk."""
        name, start, stop = chunk
        self._faults += found.faults
        self._coloured |= found.coloured
        content = np.frombuffer(found.content, np.uint8).reshape(-1, 16)
        self._content[name][start : start + len(content)] = content
        sums = np.frombuffer(found.sums, np.uint64)
        self._sums[name][start : start + len(sums)] = sums
        self._done[name, start] = stop - start

    def job(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Describe the whole job to a helper process."""
        where = {
            name: [str(a.filename), a.offset, list(a.shape)]
            for name, a in arrays.items()
            if isinstance(a, np.memmap)
        }
        return {"settings": self._settings, "arrays": where}

    def order(self, chunk: tuple[str, int, int]) -> dict[str, Any]:
        """Describe a chunk to a helper process."""
        name, start, stop = chunk
        return {"part": name, "start": start, "places": self._encoded.places[name][start:stop]}

    def _rest(self, arrays: Mapping[str, Array], faults: Sequence[Fault]) -> Decoded:
        """Leave out the images that do not decode."""
        left, parts = self._encoded, {}
        for name in self._encoded.places:
            bad = [fault.number for fault in faults if fault.part == name]
            left = left.without(name, bad)
            images = arrays[name]
            if bad:
                good = np.delete(np.arange(len(images)), bad)
                images = self._room.only(name, images, good)
                self._content[name], self._sums[name] = (
                    self._content[name][good],
                    self._sums[name][good],
                )
            pixels = np.moveaxis(images, -1, 1)
            parts[name] = Part(pixels, left.labels[name], self._content[name])
        return Decoded(parts, left.classes, None, left.places, self._sums, tuple(faults))


class _Helper(threading.Thread):
    """Passes chunks one by one to a process of its own."""

    def __init__(
        self,
        decoding: _Decoding,
        chunks: queue.SimpleQueue[tuple[str, int, int]],
        arrays: Mapping[str, Array],
    ) -> None:
        super().__init__(daemon=True)
        self._decoding, self._chunks, self._arrays = decoding, chunks, arrays
        # Pass on sys.path, since the package may be found only through it.
        code = (
            f"import sys; sys.path[:] = {sys.path!r};"
            " from ablate.data.decode_many import serve; serve()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches this process only, which ends the helper
        )
        self.start()

    def run(self) -> None:
        try:
            self._send(self._decoding.job(self._arrays))
            while True:
                try:
                    chunk = self._chunks.get_nowait()
                except queue.Empty:
                    return
                if not self._hand_over(chunk):
                    self._chunks.put(chunk)
                    return
        except (OSError, ValueError):  # it was killed, or closed
            return

    def _hand_over(self, chunk: tuple[str, int, int]) -> bool:
        try:
            self._send(self._decoding.order(chunk))
            assert self._process.stdout is not None, "it is a pipe"
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return False
        faults = [Fault(*fault) for fault in answer["faults"]]
        content, sums = (bytes.fromhex(answer[name]) for name in ("content", "sums"))
        self._decoding.note(chunk, _Chunk(faults, content, sums, answer["coloured"]))
        return True

    def _send(self, what: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None, "it is a pipe"
            try:
                pipe.close()
            except BrokenPipeError:  # it ended before it read the last message
                continue


def serve() -> None:
    """Decode what standard input names, until it ends."""
    job = json.loads(sys.stdin.buffer.readline())
    arrays = {
        name: np.memmap(path, np.uint8, "r+", offset, tuple(shape))
        for name, (path, offset, shape) in job["arrays"].items()
    }
    for line in sys.stdin.buffer:
        order = json.loads(line)
        places = [p if isinstance(p, str) else tuple(p) for p in order["places"]]
        name, start = order["part"], order["start"]
        found, pixels = _decoded(places, arrays[name].shape[1:], name, start, job["settings"])
        _put(pixels, arrays[name], start)
        told = {
            "faults": [list(vars(fault).values()) for fault in found.faults],
            "content": found.content.hex(),
            "sums": found.sums.hex(),
            "coloured": found.coloured,
        }
        sys.stdout.buffer.write(json.dumps(told).encode() + b"\n")
        sys.stdout.buffer.flush()


@dataclass(frozen=True)
class _Chunk:
    """The results of a chunk.

    Attributes:
        faults: Images that do not decode.
        content: A hash of each image's file, 16 bytes each.
        sums: A sum over each image's pixels, uint64.
        coloured: Whether an image has colours though all should be grey.
    """

    faults: Sequence[Fault]
    content: bytes
    sums: bytes = b""
    coloured: bool = False


def _decoded(
    places: Sequence[Place],
    shape: Sequence[int],
    part: str,
    start: int,
    settings: Mapping[str, Any],
) -> tuple[_Chunk, Array]:
    """Decode images of shape [H, W, C]; `start` is the number of the first in its part."""
    faults: list[Fault] = []
    hashes: list[bytes] = []
    images = np.zeros((len(places), *shape), np.uint8)
    for number, (name, raw) in enumerate(contents(places)):
        if settings["channels"] == 1 and (seen := glance(raw)) is not None and not seen.grey:
            return _Chunk(faults, b"".join(hashes), coloured=True), images
        hashes.append(fingerprint(raw) if isinstance(raw, bytes) else bytes(16))
        try:
            pixels = decode(raw, **settings, name=name).transpose(1, 2, 0)
            _require_size(name, pixels, shape)
            images[number] = pixels
        except DecodingError as error:
            faults.append(Fault(part, start + number, error.kind, str(error)))
    return _Chunk(faults, b"".join(hashes), _sums(images).tobytes()), images


def _put(pixels: Array, images: Array, start: int) -> None:
    """Store decoded images, the first at index `start`."""
    if not isinstance(images, np.memmap):
        images[start : start + len(pixels)] = pixels
        return
    # Writing to the file is three times as fast as touching new pages of the map.
    assert images.filename is not None, "it is a file"
    with open(images.filename, "r+b") as file:
        file.seek(images.offset + start * images.strides[0])
        file.write(pixels.data)


def _sums(images_NHWC: Array) -> Array:
    """Sum up the pixels of each image, eight at a time, each with its own weight, modulo 2^64."""
    flat = images_NHWC.reshape(len(images_NHWC), -1)
    if flat.shape[1] % 8:
        flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 8)))
    words = flat.view(np.uint64)
    weights = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((words * weights).sum(1, dtype=np.uint64))


def _require_size(name: str, pixels: Array, shape: Sequence[int]) -> None:
    if pixels.shape == tuple(shape):
        return
    height, width, _ = shape
    raise DecodingError(
        name,
        _ANOTHER_SIZE,
        f"has {pixels.shape[1]} × {pixels.shape[0]} pixels, but the first image has"
        f" {width} × {height}: resize all to one size with data.image_size=32, say",
    )


def contents(places: Sequence[Place]) -> Iterator[tuple[str, str | bytes]]:
    """Yield each encoded image's name and bytes; its path instead if it cannot be read."""
    group: tuple[str, str, int] | None = None
    rows: Any = None
    for place in places:
        if isinstance(place, str):
            try:
                raw: str | bytes = _bytes_of(place)
            except (OSError, MemoryError):  # `decode` reports it, with the reason
                raw = place
            yield shown(place), raw
            continue
        table, column, number, row = place
        if (table, column, number) != group:
            group, rows = (table, column, number), _row_group(table, column, number)
        yield f"{shown(table)}, image {row} of row group {number}", rows[row].as_py() or b""


def _bytes_of(path: str) -> bytes:
    """Read a file in half the time that `open` takes for a small one."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        found = os.read(descriptor, size)
        while len(found) < size and (more := os.read(descriptor, size - len(found))):
            found += more
        return found
    finally:
        os.close(descriptor)


def _row_group(file: str, column: str, number: int) -> Any:
    import pyarrow.parquet as pq  # slow to import
    import pyarrow.types as types

    with pq.ParquetFile(file) as opened:
        rows = opened.read_row_group(number, columns=[column]).column(0).combine_chunks()
    return rows.field("bytes") if types.is_struct(rows.type) else rows


def _bar(total: int) -> Any:
    from tqdm import tqdm

    if total >= _MANY and not sys.stderr.isatty():
        print(f"decoding {total:,} images, once", file=sys.stderr)
    disable = None if total >= _MANY else True
    return tqdm(desc="decoding", total=total, leave=False, disable=disable, unit=" images")
