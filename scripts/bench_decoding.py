"""Decodes many small JPEGs, and compares with a plain Pillow loop in as many processes.

    python scripts/bench_decoding.py            50,000 images of 64 × 64, in turns, three times each
    python scripts/bench_decoding.py 5000 1     fewer images, once

Prints images per second of both, the time to open the cached images, and the memory (proportional
share, PSS) of four workers that read all images against that of one.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, CLASSES, WORKERS = 64, 10, 4
READ = """
import json, sys, time
import torch
from ablate import data
config = json.loads(sys.argv[1])
began = time.perf_counter()
data.read(config)
opened = time.perf_counter() - began
tensors = data.load({"data": config, "device": "cpu", "precision": "fp32"})
sum(int(block.sum()) for block in tensors.train.blocks())
print(opened, flush=True)
sys.stdin.readline()
"""


def main(images: int, turns: int) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photos")
        write(root, images)
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        rates = [(ours(root, images), plain(root, images)) for _ in range(turns)]
        for own, other in rates:
            print(f"images a second: {own:,.0f}, plain {other:,.0f}: {own / other:.2f}")
        print(f"median of {turns}: {statistics.median(own / other for own, other in rates):.2f}")
        ((opened, one),) = workers(root, 1)
        print(f"opened again: {opened:.2f} s beyond imports")
        total = sum(shared for _, shared in workers(root, WORKERS))
        print(
            f"PSS of the images: {one / 1e6:,.0f} MB in one worker, {total / 1e6:,.0f} in {WORKERS}"
        )


def write(root: Path, images: int) -> None:
    """Write images of noise on a smooth background, like photographs."""
    random = np.random.default_rng(0)
    grounds = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize((SIDE, SIDE)),
            np.int16,
        )
        for _ in range(64)
    ]
    for number in range(images):
        noisy = grounds[number % 64] + random.integers(-20, 20, (SIDE, SIDE, 3))
        path = root / f"class {number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)


def config(root: Path) -> dict[str, object]:
    """Describe the data set."""
    values = {"name": "folder", "root": str(root), "image_size": SIDE, "split_by": "content"}
    return {**values, "train_size": None, "val_size": None}


def ours(root: Path, images: int) -> float:
    """Decode into an empty cache, in a separate process; images per second."""
    code = (
        "import sys, json, time; from ablate import data; from ablate.data import image_cache\n"
        "image_cache.clear(); began = time.perf_counter()\n"
        "data.read(json.loads(sys.argv[1])); print(time.perf_counter() - began)"
    )
    command = [sys.executable, "-c", code, _json(root)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return images / float(done.stdout)


def plain(root: Path, images: int) -> float:
    """Decode with a plain loop in a process per core; images per second."""
    cores = len(os.sched_getaffinity(0))
    paths = [str(path) for path in sorted(root.rglob("*.jpg"))]
    began = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        pool.map(loop, [paths[place::cores] for place in range(cores)], chunksize=1)
    return images / (time.perf_counter() - began)


def loop(paths: Sequence[str]) -> None:
    """Decode images one after another."""
    pixels = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)
    for place, path in enumerate(paths):
        with Image.open(path) as image:
            pixels[place] = np.asarray(image.convert("RGB"))


def workers(root: Path, count: int) -> list[tuple[float, int]]:
    """Let workers read all images at once; return each one's seconds to open them, and its PSS."""
    command = [sys.executable, "-c", READ, _json(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    seconds = [float(process.stdout.readline()) for process in processes]
    shares = [_share_of_images(process.pid) for process in processes]
    for process in processes:
        process.communicate(b"\n")
    return list(zip(seconds, shares, strict=True))


def _share_of_images(process: int) -> int:
    """Sum this process's proportional share of the mapped images, in bytes."""
    total, ours = 0, False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if line[:1].isdigit() or line[:1] in "abcdef":
            ours = line.endswith(".images.npy")
        elif ours and line.startswith("Pss:"):
            total += 1024 * int(line.split()[1])
    return total


def _json(root: Path) -> str:
    import json

    return json.dumps(config(root))


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [50_000, 3][len(given) :]))
