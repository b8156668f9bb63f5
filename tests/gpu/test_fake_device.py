"""The fake devices follow CUDA's rules, and count what they are asked to do.

Expected values come from CUDA's documentation and the arithmetic of a few tensors; see the sources
in `fake/source/`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest

from tests.gpu.fake.log import counted, counts, live_graph_pools, recorded
from tests.gpu.fake.running import environment, on_fake_gpu

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]

MEGABYTE = 1 << 20


# -- what is done on the device, in one process ----------------------------------------------------


def work() -> dict[str, Any]:
    """Do a little of everything; return what was counted and recorded."""
    import torch

    told: dict[str, Any] = {}
    a = torch.ones(1000, device="cuda")
    a + 1  # triggers what only a first addition loads
    pinned = torch.empty(1000).pin_memory()
    torch.cuda.synchronize()

    def note(name: str, act: Callable[[], object]) -> None:
        with counted() as found, recorded() as events:
            act()
        told[name] = asdict(found) | {"events": [asdict(event) for event in events]}

    note("addition", lambda: a + 1)
    note("copy to the host", a.cpu)
    note("copy to pinned memory", lambda: pinned.copy_(a, non_blocking=True))
    note("copy from the host", lambda: a.copy_(torch.zeros(1000)))
    note("wait", torch.cuda.synchronize)
    note("number", (a.sum() > 0).item)
    note("product", lambda: torch.ones(3, 5, device="cuda") @ torch.ones(5, 7, device="cuda"))
    note("a kernel of torch.special", lambda: torch.special.entr(a))
    told["fill"] = torch.full((3,), 7, device="cuda").tolist()

    def take_down_and_replay() -> None:
        graph = torch.cuda.CUDAGraph()

        def capture() -> None:
            with torch.cuda.graph(graph):
                a.add_(1)
                a.mul_(2)
                torch.empty(MEGABYTE, device="cuda").fill_(3)

        note("capture", capture)
        note("replay", graph.replay)
        told["with a graph"] = (counts().graphs, live_graph_pools())

    def streams() -> None:
        cuda, stream = ctypes.CDLL(None), ctypes.c_void_p()
        alive = counts().streams
        cuda.cudaStreamCreate(ctypes.byref(stream))
        told["streams"] = [counts().streams - alive]
        told["destroyed"] = [cuda.cudaStreamDestroy(stream) for _ in range(2)]
        told["streams"].append(counts().streams - alive)
        cuda.cudaGetLastError()  # clear the error before torch finds it

    streams()
    take_down_and_replay()
    torch.cuda.empty_cache()
    told["without"] = (counts().graphs, live_graph_pools())
    return told


def work_and_captures() -> dict[str, Any]:
    return {"work": work(), "captures": captures()}  # in one process: torch is slow to import


@pytest.fixture
def done(told_once):
    return told_once(work_and_captures)["work"]


def test_an_addition_is_one_launch(done):
    found = done["addition"]
    assert (found["launches"], found["kernels"], found["copies"], found["waits"]) == (1, 1, 0, 0)
    (event,) = found["events"]
    assert "add" in event["name"]
    assert (event["kind"], event["device"], event["captured"]) == ("kernel", 0, False)
    threads = event["grid"][0] * event["block"][0]
    assert 1000 / 16 <= threads <= 2 * 1024  # each handles a few of the thousand elements


def test_a_copy_to_the_host_waits(done):
    found = done["copy to the host"]
    assert (found["launches"], found["copies"], found["copied_bytes"]) == (0, 1, 4000)
    assert found["waits"] == 1
    assert [e["name"] for e in found["events"] if e["kind"] == "copy"] == ["device to pageable"]


def test_a_copy_to_pinned_memory_does_not_wait(done):
    found = done["copy to pinned memory"]
    assert (found["copies"], found["waits"]) == (1, 0)
    assert [e["name"] for e in found["events"] if e["kind"] == "copy"] == ["device to pinned"]


def test_a_copy_from_the_host_is_recorded_as_such(done):
    events = done["copy from the host"]["events"]
    copies = [(e["name"], e["bytes"]) for e in events if e["kind"] == "copy"]
    assert copies == [("pageable to device", 4000)]


def test_waits_are_counted(done):
    assert done["wait"]["waits"] == 1
    assert done["number"]["waits"] == 1  # reading a number waits


def test_a_product_is_recorded_with_its_sizes(done):
    names = [e["name"] for e in done["product"]["events"] if e["name"].startswith("cublas")]
    (sizes,) = (
        name.partition(" ")[2] for name in names
    )  # which function depends on torch's version
    assert sizes == "m7 n3 k5"  # column-major, so transposed


def test_a_kernel_that_torch_compiles_on_first_use_is_launched(done):
    names = [
        e["name"] for e in done["a kernel of torch.special"]["events"] if e["kind"] == "kernel"
    ]
    assert len(names) == 1
    assert names[0].startswith("entr")


def test_fills_write_their_value(done):
    assert done["fill"] == [7, 7, 7]


def test_a_capture_records_kernels_and_a_replay_runs_them_in_one_launch(done):
    assert (done["capture"]["launches"], done["capture"]["kernels"]) == (0, 0)
    events = done["capture"]["events"]
    assert sum(e["captured"] for e in events if e["kind"] == "kernel") == 3
    assert (done["replay"]["launches"], done["replay"]["kernels"]) == (1, 3)


def test_a_graph_and_its_pool_are_gone_once_nothing_holds_them(done):
    assert (done["with a graph"], done["without"]) == ([1, 1], [0, 0])


def test_a_stream_is_gone_once_it_is_destroyed(done):
    assert done["streams"] == [1, 0]
    assert done["destroyed"] == [0, 400]  # cudaErrorInvalidResourceHandle


# -- captures --------------------------------------------------------------------------------------


def captures() -> dict[str, Any]:
    """Do during captures what CUDA allows and forbids; return the errors of the device."""
    import torch

    told: dict[str, Any] = {}
    a = torch.ones(4, device="cuda")
    side = torch.cuda.Stream()
    event = torch.cuda.Event()
    before = torch.cuda.Event()
    before.record()
    a + 1

    def attempt(name: str, act: Callable[[], object], mode: str = "global") -> None:
        stream = torch.cuda.current_stream()
        with recorded("error") as events, suppress(RuntimeError):
            try:
                with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode=mode):
                    act()
            finally:
                torch.cuda.set_stream(stream)  # torch does not restore it after a failed capture
        told[name] = [e.name.split(" (")[0] for e in events]

    def work_in(stream: torch.cuda.Stream) -> None:
        with torch.cuda.stream(stream):
            a.add_(1)

    def fork(joined: bool) -> None:
        side.wait_stream(torch.cuda.current_stream())
        work_in(side)
        if joined:
            torch.cuda.current_stream().wait_stream(side)

    def record_and_wait() -> None:
        event.record()
        event.synchronize()

    def allocate_in_another_thread() -> None:
        pointer = ctypes.c_void_p()
        arguments = (ctypes.byref(pointer), ctypes.c_size_t(64))
        thread = threading.Thread(target=ctypes.CDLL(None).cudaMalloc, args=arguments)
        thread.start()
        thread.join()
        a.add_(1)

    attempt("addition", lambda: a + 1)
    attempt("wait", torch.cuda.current_stream().synchronize)
    attempt("wait for the capturing stream", lambda: torch.cuda.current_stream().synchronize())
    attempt("wait for the device", torch.cuda.synchronize)
    attempt("wait for a captured event", record_and_wait)
    attempt("number", lambda: (a + 1).sum().item())
    attempt("joined fork", lambda: fork(True))
    attempt("fork", lambda: fork(False))
    attempt("event from outside", lambda: torch.cuda.current_stream().wait_event(before))
    attempt("allocation elsewhere", allocate_in_another_thread)
    attempt("the same, thread-local", allocate_in_another_thread, "thread_local")
    for where in ("begin", "end", "instantiate"):
        os.environ["FAKE_GPU_NO_CAPTURE"] = where
        attempt(f"failing at {where}", lambda: a + 1)
    del os.environ["FAKE_GPU_NO_CAPTURE"]
    attempt("another addition", lambda: a + 1)
    return told


UNSUPPORTED, INVALIDATED = "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureInvalidated"
REFUSED_END = f"cudaStreamEndCapture: {INVALIDATED}"


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("addition", []),
        ("wait", []),  # on a stream that is not capturing
        (
            "wait for the capturing stream",
            [f"cudaStreamSynchronize: {UNSUPPORTED}", REFUSED_END],
        ),
        ("wait for the device", [f"cudaDeviceSynchronize: {UNSUPPORTED}", REFUSED_END]),
        (
            "wait for a captured event",
            ["cudaEventSynchronize: cudaErrorCapturedEvent", REFUSED_END],
        ),
        ("number", [f"cudaStreamSynchronize: {UNSUPPORTED}", REFUSED_END]),
        ("joined fork", []),
        ("fork", ["cudaStreamEndCapture: cudaErrorStreamCaptureUnjoined"]),
        (
            "event from outside",
            ["cudaStreamWaitEvent: cudaErrorStreamCaptureIsolation", REFUSED_END],
        ),
        (
            "allocation elsewhere",
            [f"cudaMalloc: {UNSUPPORTED}", f"cudaLaunchKernel: {INVALIDATED}", REFUSED_END],
        ),
        ("the same, thread-local", []),
        ("failing at begin", ["cudaStreamBeginCapture: cudaErrorNotSupported"]),
        ("failing at end", [REFUSED_END]),
        ("failing at instantiate", ["cudaGraphInstantiateWithFlags: cudaErrorNotSupported"]),
        ("another addition", []),
    ],
)
def test_a_capture_allows_what_cuda_allows(name, errors, told_once):
    assert told_once(work_and_captures)["captures"][name] == errors


# -- devices and their memory ----------------------------------------------------------------------


def memory() -> dict[str, Any]:
    """Fill the first of two visible devices."""
    import torch

    told: dict[str, Any] = {"free": [torch.cuda.mem_get_info(d) for d in (0, 1)]}
    held = torch.empty(48 * MEGABYTE, dtype=torch.uint8, device="cuda:0")
    told["free then"] = [torch.cuda.mem_get_info(d)[0] for d in (0, 1)]
    try:
        torch.empty(32 * MEGABYTE, dtype=torch.uint8, device="cuda:0")
    except torch.OutOfMemoryError as error:
        told["raised"] = str(error)
    torch.empty(32 * MEGABYTE, dtype=torch.uint8, device="cuda:1")
    told["where"] = torch.cuda.current_device()
    told["peaks"] = [counts(machine_device).peak for machine_device in (0, 1, 2)]
    del held
    torch.cuda.empty_cache()
    told["used"] = [counts(machine_device).used for machine_device in (0, 1, 2)]
    uuids = [torch.cuda.get_device_properties(d).uuid for d in range(torch.cuda.device_count())]
    return told | {"uuids": list(map(str, uuids))}


def test_each_device_has_its_own_memory():
    third_and_first = "GPU-00000003,GPU-00000001"
    told = on_fake_gpu(memory, gpus=3, memory=64 * MEGABYTE, CUDA_VISIBLE_DEVICES=third_and_first)
    assert [uuid.split("-")[0] for uuid in told["uuids"]] == ["00000003", "00000001"]
    assert told["free"] == [[64 * MEGABYTE, 64 * MEGABYTE]] * 2
    assert told["free then"] == [16 * MEGABYTE, 64 * MEGABYTE]
    assert "CUDA out of memory" in told["raised"]
    assert told["peaks"] == [32 * MEGABYTE, 0, 48 * MEGABYTE]
    assert told["used"] == [0, 0, 0]


SEEN = """
import ctypes
cuda, count, number = ctypes.CDLL(None), ctypes.c_int(-1), ctypes.create_string_buffer(16)
status = cuda.cudaGetDeviceCount(ctypes.byref(count))
for device in range(count.value):
    cuda.cudaDeviceGetPCIBusId(number, 16, device)
    print(int(number.value[5:7], 16) - 1)
assert (status == 100) == (count.value == 0)  # cudaErrorNoDevice
"""


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        ("1,7,0", [1]),
        ("-1", []),
        ("0,-1,1", [0]),
        ("1,1", []),
        ("none", []),
        ("GPU-00000002-fa4e-0000-0000-000000000000", [1]),
        ("GPU-00000003,GPU-00000001", [2, 0]),
        ("GPU-0000000", []),  # ambiguous
        ("GPU-00000001,GPU-9", [0]),
    ],
)
def test_cuda_visible_devices_says_which_devices_a_process_sees(wanted, seen):
    others = {} if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted}
    out = subprocess.run(
        [sys.executable, "-S", "-c", SEEN],
        env=environment(gpus=3, **others),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert list(map(int, out.split())) == seen


# -- compiled kernels ------------------------------------------------------------------------------


def compiled() -> list[str]:
    """Compile a function for the device, and run it again."""
    import torch

    function = torch.compile(lambda x: (x.sin() + 1) * 2)
    a = torch.ones(1000, device="cuda")
    function(a)
    with recorded("kernel") as events:
        function(a)
    return [event.name for event in events]


@pytest.mark.long
def test_torchs_compiler_fuses_three_operations_into_one_kernel():
    (name,) = on_fake_gpu(compiled)
    assert name.startswith("triton_")
