"""Search over HTTP: a thin layer over `siamese.search.searcher.Searcher`.

    upload ─ limits ─ decoding threads ─ one model thread ─ index ─ JSON
             limits   uploads            batching           index_versions, schemas

`docs/serving.md` describes the API.
"""
