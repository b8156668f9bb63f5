"""Tells, in a process on the fake devices, what they did.

with counted() as counts:
    step()
counts.launches  # and copies, waits, peak bytes, ...

with recorded() as events:
    step()
[e.name for e in events if e.kind == "kernel"]
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path


class _Event(ctypes.Structure):  # as in source/log.h
    _fields_ = (
        ("kind", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("device", ctypes.c_int32),
        ("captured", ctypes.c_int32),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("bytes", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Event:
    """What a device was asked to do.

    Attributes:
        kind: ``kernel``, ``copy``, ``memset``, ``wait`` (of the host), ``allocate``, ``free``,
            ``capture``, ``graph`` or ``error``.
        name: Of the kernel; from where to where (``pageable to device``); of the call; of an error
            ``call: cudaError... (why)``.
        device: As the machine numbers it.
        captured: Whether a graph took it down, and nothing was done.
        bytes: Copied, set, allocated; of a kernel its dynamic shared memory.
    """

    kind: str
    name: str
    device: int
    captured: bool
    grid: tuple[int, ...]
    block: tuple[int, ...]
    bytes: int


@dataclass
class Counts:
    """What a device did.

    Attributes:
        launches: By the host: of kernels, outside captures, and of graphs.
        kernels: That the device would have run, those in graphs included.
        waits: Of the host for the device.
        used: Bytes that are allocated.
        peak: The most bytes that were at once.
        streams: That are alive.
        graphs: That are instantiated, and not destroyed.
    """

    launches: int = 0
    kernels: int = 0
    copies: int = 0
    copied_bytes: int = 0
    memsets: int = 0
    waits: int = 0
    errors: int = 0
    used: int = 0
    peak: int = 0
    streams: int = 0
    graphs: int = 0


_NAMES = [field.name for field in fields(Counts)]
_LEVELS = ("used", "peak", "streams", "graphs")  # the others only grow
_DEVICES = 64


class _Counts(ctypes.Structure):  # as in source/log.h
    _fields_ = tuple((name, ctypes.c_uint64) for name in _NAMES)


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.fake_events.restype = ctypes.POINTER(_Event)
    library.fake_counts.restype = ctypes.POINTER(_Counts)
    return library


def counts(machine_device: int = 0) -> Counts:
    """Read what a device did in this process so far."""
    return _told(_library().fake_counts(machine_device).contents)


@contextmanager
def counted(machine_device: int = 0) -> Iterator[Counts]:
    """Count what a device does in this context; the counts are there once it ends."""
    _library().fake_reset_peak()
    before = asdict(counts(machine_device))
    found = Counts()
    try:
        yield found
    finally:
        for name, value in asdict(counts(machine_device)).items():
            setattr(found, name, value if name in _LEVELS else value - before[name])


@contextmanager
def recorded(*kinds: str) -> Iterator[list[Event]]:
    """List what all devices do in this context; the events are there once it ends.

    Args:
        kinds: Of the events that are wanted; all without one.
    """
    library, found = _library(), []
    library.fake_record(1)
    try:
        yield found
    finally:
        library.fake_record(0)
        count = ctypes.c_size_t()
        events = library.fake_events(ctypes.byref(count))
        wanted = {kind.encode() for kind in kinds}
        for i in range(count.value):
            if not wanted or events[i].kind in wanted:
                found.append(_event(events[i]))


def live_graph_pools() -> int:
    """Count the pools of memory that torch's allocator holds for graphs."""
    import torch

    pools = {tuple(segment["segment_pool_id"]) for segment in torch.cuda.memory_snapshot()}
    return len(pools - {(0, 0)})


def counts_left_in(folder: Path) -> dict[int, Counts]:
    """Add up what every process, dead or alive, left in FAKE_GPU_COUNTS, by device.

    Peaks are added up too: those of processes that followed each other may exceed the device.
    """
    sums = {}
    for path in folder.iterdir():
        devices = (_Counts * _DEVICES).from_buffer_copy(path.read_bytes())
        for device, one in enumerate(devices):
            of_one = asdict(_told(one))
            if any(of_one.values()):
                so_far = asdict(sums.get(device, Counts()))
                sums[device] = Counts(**{n: so_far[n] + v for n, v in of_one.items()})
    return sums


def _told(read: _Counts) -> Counts:
    return Counts(*(getattr(read, name) for name in _NAMES))


def _event(read: _Event) -> Event:
    return Event(
        read.kind.decode(),
        read.name.decode(),
        read.device,
        bool(read.captured),
        tuple(read.grid),
        tuple(read.block),
        read.bytes,
    )
