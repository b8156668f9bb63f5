"""Text of the user's own (names, reasons, questions) made safe for each format it is shown in.

HTML is escaped by jinja2 itself. Everything goes through `plain` first, so that a control character
in a class name neither clears a terminal nor breaks a page.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

# A colon and a point only where they would make a link or an emoji of a word.
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>#|~&$@!]|:(?=[\w/+-])|(?<=www)\.)", re.I)
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
    """Write text in one line, a control character or half a surrogate pair as �."""
    spaced = " ".join(str(text).split())
    if spaced.isprintable():
        return spaced
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in spaced)


def markdown(text: object) -> str:
    """Escape text for Markdown, table cells included."""
    return _MARKDOWN.sub(r"\\\1", plain(text))


@lru_cache(maxsize=4096)  # most cells of a large table say the same
def latex(text: str) -> str:
    """Escape text for pdflatex without further packages.

    Accents are written with commands; a sign that its fonts lack, as its code point.
    """
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
