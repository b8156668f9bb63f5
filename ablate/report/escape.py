"""Makes text from the user (names, reasons, questions) safe for each output format.

jinja2 escapes HTML by itself. All text goes through `plain` first, so that a control character in a
class name cannot clear a terminal or break a page.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ablate.streams import visible

if TYPE_CHECKING:
    import pandas as pd

# A colon or a full stop, where it would turn a word into a link or an emoji.
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>#|~&$@!]|:(?=[\w/+-])|(?<=www)\.)", re.I)
# At the start, what would turn a paragraph into a list or a rule.
_FIRST: Final = re.compile(r"^(\d*)([-+=.)])(?=[\s=-]|$)")
_FORMULA: Final = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")  # wide ones, too
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*%?", re.I)
_LATEX: Final = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a line break it would open an option
    "]": "{]}",
    "–": "--",
    "\u2014": "---",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "æ": r"\ae{}",
    "œ": r"\oe{}",
    **{
        sign: f"$\\{name}$"
        for sign, name in (
            *(("±", "pm"), ("×", "times"), ("≤", "le"), ("≥", "ge"), ("√", "surd"), ("σ", "sigma")),
            *(("Δ", "Delta"), ("δ", "delta"), ("λ", "lambda"), ("α", "alpha"), ("ρ", "rho")),
            *(("γ", "gamma"), ("β", "beta"), ("μ", "mu"), ("η", "eta"), ("ε", "epsilon")),
        )
    },
    "\u2212": "$-$",
    "²": r"\textsuperscript{2}",
}
_ACCENTS: Final = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u030c": "v",
    "\u0327": "c",
}


def plain(text: object) -> str:
    """Write text on one line, with � for control characters and lone surrogates."""
    return visible(" ".join(str(text).split()))


def markdown(text: object) -> str:
    """Escape text for Markdown, including table cells and the start of a line."""
    return _FIRST.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", plain(text)))


def figure(text: object) -> str:
    """Escape text for matplotlib, which reads dollars as math."""
    return plain(text).replace("$", r"\$")


def spreadsheet(frame: pd.DataFrame) -> pd.DataFrame:
    """Escape a frame for CSV: text that a spreadsheet would take for a formula gets an apostrophe.

    Numbers stay as they are, even when written as text (``-1.5``).
    """
    from pandas.api.types import is_numeric_dtype  # what only escapes text does without

    safe = frame.rename(columns=_cell)
    for place, kind in enumerate(frame.dtypes):
        if not is_numeric_dtype(kind):
            safe.isetitem(place, [_cell(value) for value in frame.iloc[:, place]])
    return safe


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


@lru_cache(maxsize=4096)  # most cells of a large table repeat
def latex(text: str) -> str:
    """Escape text for pdflatex without extra packages: accents become commands."""
    return "".join(_latex(sign) for sign in unicodedata.normalize("NFC", plain(text)))


def _latex(sign: str) -> str:
    if sign in _LATEX:
        return _LATEX[sign]
    if sign.isascii():
        return sign
    parts = unicodedata.normalize("NFD", sign)
    letter, mark = parts[0], parts[1:]
    if letter.isascii() and letter.isalpha() and mark in _ACCENTS:
        dotless = {"i": r"\i", "j": r"\j"}.get(letter, letter)
        return f"\\{_ACCENTS[mark]}{{{dotless}}}"
    return f"[U+{ord(sign):04X}]"
