"""`python -m manycore` is the command."""

from manycore.cli import main

main()
