"""`python -m siamese` is the `siamese` command."""

from siamese.cli import main

main()
