"""FAISS backend: an index in a folder, searched with FAISS."""
