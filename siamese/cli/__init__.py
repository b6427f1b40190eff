"""Commands of the `siamese` program, which `siamese.cli.main` combines."""
