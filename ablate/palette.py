"""What tells one line of a figure from another, on every page: colours, markers and dashes.

Colours are Okabe and Ito's, which readers with any common colour blindness tell apart, without
their yellow, which white paper swallows; markers and dashes tell the same again, in greyscale too.

Source: Okabe & Ito 2008, Color Universal Design, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from typing import Final

BLACK: Final = "#000000"
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREY: Final = "#767676"  # of what stands behind; no line's own
COLOURS: Final = (BLACK, BLUE, VERMILION, "#009E73", "#CC79A7", ORANGE, SKY)
MARKERS: Final = ("o", "s", "D", "^", "v", "P", "X")
DASHES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 1)))
