"""What to run: from overrides to resolved, validated runs. Planning trains nothing."""

from ablate.plan.request import Request
from ablate.plan.run import Run

__all__ = ["Request", "Run"]
