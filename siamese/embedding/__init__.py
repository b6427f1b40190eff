"""Turn pictures into embeddings, store them and export the model."""
