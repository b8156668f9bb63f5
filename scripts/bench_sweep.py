"""What a sweep costs, next to Hydra's basic launcher and a script per run; and what starting costs.

    python scripts/bench_sweep.py [--part sweep|start] [--seeds N]

dropout {0, 0.25, 0.5} x norm {none, batch} x seeds on digits, once with a small network and once
with the default one. All contenders run the installed command or a script, from nothing to the last
record, one after another on the same cores; start-up is included. The scripts' time is that of one
script of each kind, times the number of runs.

Start-up is given as a ratio to `import torch`, measured in turn with it: a command's help, a
refusal, a plan of 1,000 cells, a request that is already finished, a run of a single step, and each
further run of a sweep.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from ablate import environment

COMMAND = str(Path(sys.executable).parent / "ablate")
GRID = ("dropout.dense=0,0.25,0.5", "norm=none,batch")
NETWORKS = {
    "conv 8, conv 16, dense 32": ("model.channels=[8,16]", "model.hidden=[32]"),
    "the default network": (),
}
SCRIPT = """
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

channels, hidden, rate, norm, seed = {channels}, {hidden}, {rate}, {norm}, {seed}
torch.manual_seed(seed)
x, y = load_digits(return_X_y=True)
x = torch.tensor((x - x.mean()) / x.std(), dtype=torch.float32).view(-1, 1, 8, 8)
x, x_test, y, y_test = train_test_split(x, torch.tensor(y), test_size=0.4, stratify=y)
loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True)
layers, inputs = [], 1
for width in channels:
    layers += [nn.Conv2d(inputs, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else [])]
    layers += [nn.ReLU(), nn.MaxPool2d(2)]
    inputs = width
layers += [nn.Flatten(), nn.Linear(inputs * 4, hidden), *([nn.BatchNorm1d(hidden)] if norm else [])]
layers += [nn.ReLU(), nn.Dropout(rate), nn.Linear(hidden, 10)]
model = nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30 * len(loader))
for epoch in range(30):
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x_test).argmax(1) == y_test).double().mean().item()
print(accuracy)
"""


def main() -> None:
    """Print all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("sweep", "start"))
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    about = environment.describe("cpu")
    print(f"{about['device']}, {about['threads']} cores, torch {about['versions']['torch']}")
    if options.part != "start":
        _compare_sweeps(options.seeds)
    if options.part != "sweep":
        _compare_starts()


def _compare_sweeps(seeds: int) -> None:
    print(f"{6 * seeds} runs: {' '.join(GRID)} seed=range({seeds}), 30 epochs of digits\n")
    for name, knobs in NETWORKS.items():
        ours = _sweep(GRID, f"seed=range({seeds})", *knobs)
        basic = _sweep(GRID, f"seed=range({seeds})", *knobs, "hydra/launcher=basic")
        scripts = _scripts(knobs, seeds)
        print(name)
        print(f"  ablate run -m                    {ours:7.1f} s")
        print(f"  the same, Hydra's basic launcher {basic:7.1f} s   {basic / ours:.2f} times ours")
        print(
            f"  a plain script a run             {scripts:7.1f} s   {scripts / ours:.2f} times ours"
        )


# -- start-up --------------------------------------------------------------------------------------

# A single step, so that apart from starting, time goes to launching and recording.
TINY = ("model=mlp", "model.hidden=[8]", "data.train_size=64", "epochs=1", "launch=inline")
FEW, MANY, TURNS = 10, 110, 5


def _compare_starts() -> None:
    """Time everything in turn, and print medians and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        finished = ("-m", *TINY, "seed=range(60)", f"out={folder}/finished")
        subprocess.run([COMMAND, "run", *finished], check=True, capture_output=True)
        words = {
            "import torch": [sys.executable, "-c", "import torch"],
            "ablate --help": [COMMAND, "--help"],
            "a wrong override, refused": [COMMAND, "run", "epohcs=3"],
            "a plan of 1,000 cells": [COMMAND, "plan", "-m", *TINY, "seed=range(1000)"],
            "60 runs, all finished": [COMMAND, "run", *finished],
            "a run of a single step": [COMMAND, "run", *TINY, "rerun=all", f"out={folder}/one"],
            f"{FEW} such runs": [COMMAND, "run", "-m", *TINY, f"seed=range({FEW})"],
            f"{MANY} such runs": [COMMAND, "run", "-m", *TINY, f"seed=range({MANY})"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in words}
        for turn in range(TURNS):
            for name, command in words.items():
                place = [f"out={folder}/{turn}"] if name.endswith("such runs") else []
                start = time.perf_counter()
                subprocess.run([*command, *place], check=False, capture_output=True)
                seconds[name].append(time.perf_counter() - start)
    told = {name: median(some) for name, some in seconds.items()}
    unit = told["import torch"]
    print(f"\nstarting, medians of {TURNS} turns")
    for name, value in told.items():
        print(f"  {name:27} {value:6.2f} s   {value / unit:5.2f} times import torch")
    further = (told[f"{MANY} such runs"] - told[f"{FEW} such runs"]) / (MANY - FEW)
    ratio = further / unit
    print(f"  {'each further run':27} {1000 * further:6.1f} ms  {ratio:5.4f} times import torch")


# -- sweeps ----------------------------------------------------------------------------------------


def _sweep(grid: tuple[str, ...], *knobs: str) -> float:
    """Time a sweep, from nothing to its last record, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        words = [COMMAND, "run", "-m", *grid, *knobs, f"out={folder}"]
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        return time.perf_counter() - start


def _scripts(knobs: tuple[str, ...], seeds: int) -> float:
    small = bool(knobs)
    values = {"channels": [8, 16] if small else [32, 64], "hidden": 32 if small else 128}
    seconds = 0.0
    for norm in (False, True):
        text = SCRIPT.format(**values, rate=0.25, norm=norm, seed=0)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", text], check=True, capture_output=True)
        seconds += time.perf_counter() - start
    return seconds / 2 * 6 * seeds


if __name__ == "__main__":
    main()
