"""HTTP server for searches, whose API is described in `docs/serving.md`.

Stages of a request, above the modules that implement them::

    upload ─ limits ─ decoding threads ─ one model thread ─ index ─ JSON
             limits   uploads            batching           index_versions, schemas
"""
