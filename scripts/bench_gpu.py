"""What a stack costs on a GPU, beside what people use.

    python scripts/bench_gpu.py --part PART [--batch 128|1024] [--out FOLDER] [--again] [--dry]

check         the stack theorem, slots, NaN, resume, graphs, the tests marked gpu: before all times
profile       the kernels of a step, and the bytes it moves over the rate of a copy
sweep         64 runs on MNIST beside a DataLoader script, a careful loop, a compiled one, several
              processes and JAX; --batch is its batch size
step          milliseconds a step against width; memory a run
convolutions  ways to convolve, by shape
cifar94       CIFAR-10 to 94 %, one run and a stack, beside airbench94 where that is installed

Each part writes `gpu_<part>.json` and `.txt` as it goes, and begins nothing that might end after
--minutes: then it exits with 3, and the same command goes on. What is measured on the same card,
with the same versions and, for ablate's own figures, the same code, is not measured again unless
--again is given. What fails is named, and the exit status is 1; all else is measured all the same.

--dry runs every piece at the smallest sizes, to try the script out, on the CPU where there is no
GPU; no figure is of worth then. Where ablate is not installed, PYTHONPATH=. serves; beside torch,
torchvision and what they bring, hydra-core, omegaconf and filelock are needed. Data are looked for
as `ablate run` does (ABLATE_DATA).
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
    # As an interrupt would: the process that measures is ended, rather than left on the card.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    minutes = options.minutes or (math.inf if options.dry else 8)
    sys.exit(run(options.part, bench, options.out, minutes, options.again))


if __name__ == "__main__":
    main()
