"""Which devices a process sees, and what planning takes a device to be."""

from __future__ import annotations

import os
import queue
from types import SimpleNamespace

import pytest
import torch

from ablate import environment
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
    places = [
        _Place(number, Execution("workers", 2, None), queue.SimpleQueue(), queue.SimpleQueue())
        for number in (0, 1)
    ]
    names = (CUDA, "CUDA_DEVICE_ORDER")
    found = [[p.executor.submit(os.getenv, name).result() for name in names] for p in places]
    for place in places:
        place.close()
    assert found == [["3", "PCI_BUS_ID"], ["GPU-8932f937", "PCI_BUS_ID"]]
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
    assert environment.cuda.__wrapped__() == Cuda(3, 24 << 30)
