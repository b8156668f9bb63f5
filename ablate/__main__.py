"""Makes `python -m ablate` the same as `ablate`."""

from ablate.cli import main

main()
