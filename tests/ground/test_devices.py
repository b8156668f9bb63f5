"""Which devices a process sees, and what planning takes a device to be."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import ablate
from ablate import environment, record
from ablate.environment import Cuda, variables_for
from ablate.launch.workers import _Place
from ablate.plan.execution import Execution

CUDA, HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"
LISTS = {  # what a user may set -> what the first two workers get; after CUDA's documentation
    "2,3": ("2", "3"),
    "3,1,0": ("3", "1"),
    " 2 , 3": ("2", "3"),
    "0,2,-1,1": ("0", "2"),  # two devices: the list ends where an entry names none
    "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-5b": (
        "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
        "GPU-5b",
    ),
    "MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135,MIG-GPU-8932f937/1/0": (
        "MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135",
        "MIG-GPU-8932f937/1/0",
    ),
}


@pytest.mark.parametrize("listed", LISTS)
def test_a_worker_gets_its_own_entry_of_the_users_list(listed):
    found = [variables_for(number, {CUDA: listed, "CUDA_DEVICE_ORDER": "x"}) for number in (0, 1)]
    assert found == [{CUDA: entry} for entry in LISTS[listed]]


def test_without_a_list_devices_are_numbered():
    assert [variables_for(number, {"PATH": "/bin"}) for number in (0, 3)] == [
        {CUDA: "0"},
        {CUDA: "3"},
    ]


def test_amds_own_list_comes_beside_nvidias():
    assert variables_for(1, {HIP: "4,6"}) == {CUDA: "1", HIP: "6"}
    assert variables_for(1, {HIP: "4,6", CUDA: "5,7"}) == {CUDA: "7", HIP: "6"}


@pytest.mark.slow
def test_a_worker_process_sees_its_entry_and_every_other_variable_as_it_was(monkeypatch):
    monkeypatch.setenv(CUDA, "3,GPU-8932f937")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    place = _Place(1, Execution("workers", 2, None), queue.SimpleQueue(), queue.SimpleQueue())
    names = (CUDA, "CUDA_DEVICE_ORDER")
    found = [place.executor.submit(os.getenv, name).result() for name in names]
    place.close()
    assert found == ["GPU-8932f937", "PCI_BUS_ID"]
    assert os.environ[CUDA] == "3,GPU-8932f937"


def test_of_unlike_devices_the_one_with_least_memory_counts(monkeypatch):
    sizes = [80 << 30, 24 << 30, 40 << 30]
    monkeypatch.setattr(environment, "_has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(sizes))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda number: SimpleNamespace(total_memory=sizes[number]),
    )
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # and is not left behind
    assert environment.cuda.__wrapped__() == Cuda(3, 24 << 30)


@pytest.mark.parametrize("users", [None, ":16:8"])
def test_the_workspace_of_cublas_is_settled_before_its_first_product(users, monkeypatch):
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setenv(name, users or "")
    if users is None:
        monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "_has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    environment.cuda.__wrapped__()
    assert os.environ[name] == (users or ":4096:8")


def test_cudnn_chooses_by_rule_whatever_a_program_has_asked_torch_for(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    environment.settle_arithmetic()
    assert torch.backends.cudnn.benchmark is False


SETTINGS = {  # what a program may have asked torch for, in its newer words or in its older ones
    "as torch is": "",
    "high": "torch.set_float32_matmul_precision('high')",
    "medium": "torch.set_float32_matmul_precision('medium')",
    "matmul, older": "torch.backends.cuda.matmul.allow_tf32 = True",
    "matmul": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "convolution": "torch.backends.cudnn.conv.fp32_precision = 'tf32'",
    "cudnn": "torch.backends.cudnn.fp32_precision = 'tf32'",
    "everywhere": "torch.backends.fp32_precision = 'tf32'",
    "cpu": "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
}
ASK = """
import os, sys
import torch
from ablate.environment import settle_arithmetic, describe

for before in sys.argv[1:]:
    sys.stdout.flush()
    if os.fork():  # each starts from torch as it is when it has just been imported
        os.wait()
        continue
    exec(before)
    settle_arithmetic()
    backends = torch.backends
    kinds = [backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.conv, backends.mkldnn.matmul]
    found = [backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, describe("cpu")["tf32"]]
    found += [torch.get_float32_matmul_precision(), backends.cuda.matmul.fp32_precision]
    print(*found, *(kind.fp32_precision for kind in kinds))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.slow
def test_fp32_is_ieee_single_precision_whatever_a_program_has_asked_torch_for():
    call = [sys.executable, "-W", "ignore", "-c", ASK, *SETTINGS.values()]
    told = subprocess.check_output(call, text=True).splitlines()
    expected = "False False False highest ieee ieee ieee ieee ieee"
    assert dict(zip(SETTINGS, told, strict=True)) == dict.fromkeys(SETTINGS, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pictures")
def test_training_and_evaluating_alike_settle_arithmetic(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    found = ablate.run(["model=mlp", "model.hidden=[4]", "data.train_size=64", "epochs=1"])
    assert not torch.backends.cudnn.allow_tf32
    assert found["environment"]["tf32"] is False
    torch.backends.cudnn.allow_tf32 = True
    (folder,) = record.find(Path("results"))
    ablate.evaluate(folder, samples=None, delete=False, perturb=False, worst=None)
    assert not torch.backends.cudnn.allow_tf32


def test_torch_compile_is_not_heard_when_it_advises_tf32():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        environment.settle_arithmetic()
        warnings.warn(
            "TensorFloat32 tensor cores for float32 matrix multiplication available but not"
            " enabled. Consider setting `torch.set_float32_matmul_precision('high')` for better"
            " performance.",
            UserWarning,
            stacklevel=1,
        )
        warnings.warn("another", UserWarning, stacklevel=1)
    assert [str(one.message) for one in told] == ["another"]
