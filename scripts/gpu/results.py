"""The figures of a part, written as they come, and read again by the next call."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import ablate
from gpu.apart import Figures

_DECIDES = ("card", "versions", "dry", "batch")  # figures that differ in these do not mix


class Results:
    """``gpu_<part>.json``: ``about``, then the figures of each job by its name.

    Args:
        folder: Its folder, which also has the printed lines in ``gpu_<part>.txt``.
        part: The part's name.
        about: The description of this machine from `about.about`.
        again: Whether to measure everything again.

    Attributes:
        figures: By name of the job.
        measured: How many jobs this call has measured.
    """

    def __init__(self, folder: Path, part: str, about: Figures, again: bool) -> None:
        self._text, self._numbers = (folder / f"gpu_{part}.{kind}" for kind in ("txt", "json"))
        self._part, self._about, self._code = part, about, _code()
        self.figures: dict[str, Figures] = {}
        self.measured = 0
        self._known: dict[str, Figures] = {}
        self._lines: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        if not again:
            self._take_up()

    def say_heading(self) -> None:
        """Say what was measured where."""
        about = self._about
        sizes = ", smallest sizes: no figure of worth" if about["dry"] else ""
        self.say(
            f"scripts/bench_gpu.py --part {self._part}, {about['date']}, {about['card']},"
            f" torch {about['versions']['torch']}{sizes}"
        )
        clocks = ", ".join(f"{name} {mhz} MHz" for name, mhz in about["clocks"].items() if mhz)
        self.say(f"clocks under load: {clocks or 'not known'}")

    def say(self, line: str = "") -> None:
        """Print a line, and keep it."""
        print(line, flush=True)
        self._lines.append(line)
        self._text.write_text("\n".join(self._lines) + "\n", encoding="utf-8")

    def known(self, name: str, ours: bool) -> Figures | None:
        """Return the figures of a job from an earlier call, and keep them.

        Those of ablate itself are valid only for the present code.
        """
        found = self._known.get(name)
        if found is None or "error" in found or "skipped" in found:
            return None
        if ours and found.get("code") != self._code:
            return None
        self.figures[name] = found
        return found

    def note(self, name: str, found: Figures, ours: bool) -> None:
        """Keep the figures of a job."""
        self.figures[name] = found | ({"code": self._code} if ours else {})
        self.measured += 1
        # Keep known figures that this call has not reached for a later one.
        whole = {"about": self._about} | self._known | self.figures
        draft = self._numbers.with_suffix(".part")  # a kill leaves the old figures or the new ones
        draft.write_text(json.dumps(whole, indent=1), encoding="utf-8")
        draft.replace(self._numbers)

    def _take_up(self) -> None:
        """Read what an earlier call wrote; that of another card or version is set aside."""
        if not self._numbers.exists():
            return
        found = json.loads(self._numbers.read_text(encoding="utf-8"))
        about = found.pop("about")
        if all(about.get(name) == self._about[name] for name in _DECIDES):
            self._known = found
            return
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:6]
        card = re.sub(r"\W+", "-", str(about.get("card"))).strip("-")
        self._numbers.rename(self._numbers.with_suffix(f".{card}-{digest}.json"))


def _code() -> str:
    """Hash the code of the package and of the parts, for which ablate's figures are valid."""
    digest = hashlib.sha256()
    for root in (Path(ablate.__file__).parent, Path(__file__).parent):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
