"""Milvus backend: an index in a collection, on a server or in a Milvus Lite folder."""
