"""Search over HTTP: a thin face over `siamese.search.searcher.Searcher`.

    upload ─ limits ─ decoding threads ─ one model worker ─ index ─ JSON
             guards   pictures           batching           generations

What is asked and answered stands in docs/serving.md.
"""
