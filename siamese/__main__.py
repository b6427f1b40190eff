"""Entry point of `python -m siamese`, which runs the `siamese` command."""

from siamese.cli.main import main

main()
