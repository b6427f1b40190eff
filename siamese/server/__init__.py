"""HTTP server for searches; `docs/serving.md` describes its API.

Stages of a request, above the modules that implement them::

    upload ─ limits ─ decoding threads ─ one model thread ─ index ─ JSON
             limits   uploads            batching           index_versions, schemas
"""
