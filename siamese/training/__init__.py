"""Train an embedding: recipe, pair generator, sampling, epochs, resume."""
