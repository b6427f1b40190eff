"""The verbs of the `siamese` command, by what they are about; see `siamese.cli.main`."""
