#!/usr/bin/env bash
# Draws the README's pictures from real runs, trained in a fresh folder: some minutes on two
# cores. Run it where nothing else runs, since the terminals show times. Needs MNIST (`ablate data
# mnist`) and, for docs/report.png, chromium.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
export ABLATE_DATA=${ABLATE_DATA:-$root/data}

# Draws what a command prints once its runs have ended: the comparison, without the progress.
draw() {
  local target=$root/docs/$1
  shift
  "$@"
  "$python" "$root/scripts/draw_terminal.py" "$target" "$@"
}

draw study.svg ablate run +study=digits
draw sweep.svg ablate run -m dropout.dense=0,0.5 norm=none,batch 'seed=range(5)'

time ablate run -m data=mnist data.train_size=1000 data.val_size=1000 'model.channels=[8,16]' \
  'model.hidden=[64]' epochs=15 dropout.dense=0,0.5 norm=none,batch 'seed=range(10)' \
  name=mnist-dropout-norm
published=$root/results/published/mnist-dropout-norm
rm -rf "$published"
ablate report results/mnist-dropout-norm --out "$published"
rm "$published"/{report.files.json,figures/*.png,tables/*.tex}  # all in the rest

ablate report results/digits
chromium=$(command -v chromium || command -v chromium-browser)
"$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$place/browser" \
  --window-size=1040,680 --screenshot="$place/report.png" \
  "file://$place/results/digits/report/report.html" \
  2> /dev/null
"$python" - "$place/report.png" "$root/docs/report.png" << 'END'
import sys
from PIL import Image

Image.open(sys.argv[1]).convert("RGB").quantize(64).save(sys.argv[2], optimize=True)
END
