"""What a stack costs on a GPU, next to what people use.

    python scripts/bench_gpu.py --part PART [--batch 128|1024] [--out FOLDER] [--again] [--dry]

check         the stack theorem, slots, NaN, resume, graphs, the tests marked gpu: run it first
profile       the kernels of a step, and the time to copy the bytes that it moves
sweep         64 runs on MNIST next to a DataLoader script, a careful loop, a compiled one, several
              processes and JAX; --batch is its batch size
step          milliseconds per step against width; memory per run
convolutions  ways to convolve, by shape
cifar94       CIFAR-10 to 94 %, one run and a stack, next to airbench94 if that is installed

Each part writes `gpu_<part>.json` and `.txt` as it goes, and starts nothing that might not end
within --minutes: it then exits with 3, and the same command continues. Figures for the same card
and versions and, for ablate itself, the same code are not measured again without --again. Failures
are named, and the exit status is then 1, but everything else is still measured.

--dry runs everything at the smallest sizes, to try the script, on the CPU if there is no GPU; its
figures mean nothing. Without installing ablate, set PYTHONPATH=. and install torch, torchvision,
hydra-core, omegaconf and filelock. Data are found as by `ablate run` (ABLATE_DATA).
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from pathlib import Path

import torch

from gpu.bench import Bench
from gpu.jobs import run

PARTS = ("check", "profile", "sweep", "step", "convolutions", "cifar94")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--minutes", type=float, help="8; as many as it takes in a dry run")
    parser.add_argument("--again", action="store_true", help="measure also what is known")
    parser.add_argument("--dry", action="store_true", help="smallest sizes, to try it out")
    options = parser.parse_args()
    there = torch.cuda.is_available()
    if not (there or options.dry):
        parser.error("there is no GPU here; --dry tries the script out on the CPU")
    bench = Bench("cuda" if there else "cpu", options.dry, options.batch)
    # Act as on an interrupt, so that the measuring process is ended and does not stay on the card.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    minutes = options.minutes or (math.inf if options.dry else 8)
    sys.exit(run(options.part, bench, options.out, minutes, options.again))


if __name__ == "__main__":
    main()
