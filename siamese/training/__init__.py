"""Training of embedding models: recipe, sampling, loss, callback and resuming."""
