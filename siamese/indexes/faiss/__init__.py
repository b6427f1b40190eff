"""The index in a folder, searched by FAISS."""
