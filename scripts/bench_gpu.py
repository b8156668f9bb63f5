"""What a stack costs on a GPU, beside what people use.

    python scripts/bench_gpu.py --part check|step|sweep|cifar [--batch 128|1024] [--out FOLDER]

check  the stack theorem, slots, NaN, resume, graphs: must hold before a time counts
step   milliseconds a step against width; ways to convolve, by shape; memory a run
sweep  64 runs on MNIST beside a DataLoader script, a careful loop, a compiled one, processes;
       --batch is its batch size
cifar  CIFAR-10 to 94 %, one run and a stack, beside airbench94 where that is installed

Where ablate is not installed, PYTHONPATH=. serves; beside torch, torchvision and what they bring,
hydra-core, omegaconf and filelock are needed. Each part writes `gpu_<part>.txt` and `.json` as it
goes. Data are looked for as `ablate run` does (ABLATE_DATA). `--device cpu --small` tries the
script out where there is no GPU.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import torch

from gpu.tools import Bench

PARTS = ("check", "step", "sweep", "cifar")


def main() -> None:
    """Run one part; exit with 1 where a check fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="smallest sizes, to try it out")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --small tries the script out")
    bench = Bench(options.part, options.device, options.small, options.out, options.batch)
    sys.exit(0 if importlib.import_module(f"gpu.{options.part}").run(bench) else 1)


if __name__ == "__main__":
    main()
