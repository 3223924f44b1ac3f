"""`python -m flows.cli`: the command `timesen`."""

from flows.cli.main import main

main()
