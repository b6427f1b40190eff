"""The index in a Milvus collection, on a server or in a Milvus Lite folder."""
