"""`python -m siamese` is the `siamese` command."""

from siamese.cli.main import main

main()
