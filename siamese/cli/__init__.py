"""The commands of the `siamese` program, one module each; see `siamese.cli.main`."""
