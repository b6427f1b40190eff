"""Embed pictures, store the embeddings and export the model."""
