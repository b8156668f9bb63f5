"""Settings of the whole test session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests import pictures
from tests.gpu.fake import library

# The same few examples in every run, so that a failure can be repeated anywhere.
settings.register_profile("ablate", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("ablate")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute in one thread: faster for small tensors, and sums round the same everywhere."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests away from the user's cache and configuration (facts of data sets, trust)."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        if "MPLCONFIGDIR" not in os.environ:  # matplotlib takes seconds to list all fonts again
            patch.setenv("MPLCONFIGDIR", str(usual / "matplotlib"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _hears_interrupts() -> None:
    """Stop ignoring SIGINT and SIGHUP, as under & or nohup; child processes inherit this."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render no figures, for a test that does not look at them."""
    pictures.leave_blank(monkeypatch)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a GPU, or a fake one, if there is none."""
    if item.get_closest_marker("gpu") and (reason := _lacks_gpu()):
        pytest.skip(reason)
    if item.get_closest_marker("fakegpu") and (reason := library.missing()):
        pytest.skip(reason)


def _lacks_gpu() -> str | None:
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    fake = torch.cuda.get_device_name().endswith("(fake)")
    return "the CUDA device is the fake one" if fake else None
