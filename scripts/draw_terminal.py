"""Draws what a command prints on a terminal, as an SVG for the README.

    python scripts/draw_terminal.py docs/sweep.svg ablate run -m norm=none,batch 'seed=range(5)'

The command runs in the working directory, on a terminal of 100 columns.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import struct
import sys
import termios
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS, ROWS = 100, 50
_MOVES: Final = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhln]|\x1b\][^\x07]*\x07")
_FONT: Final = re.compile(r"@font-face \{.*?\}\n", re.DOTALL)
_GROUND: Final = (13, 17, 23)
_LETTERS: Final = (201, 209, 217)
_ANSI: Final = [  # black, red, green, yellow, blue, magenta, cyan, white
    *((72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
    *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
]


def main(target: Path, words: Sequence[str]) -> int:
    """Run a command, and draw it with its output; return its exit status."""
    printed, status = on_a_terminal(words)
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"\x1b[1m$ {shlex.join(words)}\x1b[0m"))
    console.print(Text.from_ansi(shown(printed)))
    drawn = console.export_svg(title="", theme=TerminalTheme(_GROUND, _LETTERS, _ANSI))
    target.write_text(_FONT.sub("", drawn), encoding="utf-8")  # readers use their own font
    return status


def on_a_terminal(words: Sequence[str]) -> tuple[str, int]:
    """Run a command on a terminal; return what it prints there, and its exit status."""
    process, terminal = pty.fork()
    if process == 0:
        ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execvp(words[0], list(words))
    found = bytearray()
    while True:
        try:
            some = os.read(terminal, 1 << 16)
        except OSError:  # Linux raises this when the other end is closed
            break
        if not some:
            break
        found += some
    _, status = os.waitpid(process, 0)
    return found.decode(errors="replace"), os.waitstatus_to_exitcode(status)


def shown(printed: str) -> str:
    """Return what stays on the screen: of an overwritten line, only its last state."""
    lines = _MOVES.sub("", printed).replace("\r\n", "\n").split("\n")
    last = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return "\n".join(line for line in last if line.strip())


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
