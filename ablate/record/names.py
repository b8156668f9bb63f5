"""The names of the files in a run's folder."""

from __future__ import annotations

from typing import Final

RECORD: Final = "record.json"
CHECKPOINT: Final = "checkpoint.pt"
STATE: Final = "state.pt"
CORRECT: Final = "correct.npy"
WEIGHTS: Final = ".weights.pt"  # complete, but not yet moved to the checkpoint's place
LOG: Final = "run.log"
LOCK: Final = ".lock"
LEASE: Final = ".lease"  # replaces the lock where locks do not work
HYDRA: Final = ".hydra"

FILES: Final = (RECORD, CHECKPOINT, STATE, CORRECT, WEIGHTS, LOG, LOCK, LEASE)
FOLDERS: Final = (HYDRA,)
