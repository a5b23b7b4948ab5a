"""`python -m helpers.cli` is the console script `cookbook`."""

from helpers.cli import main

main()
