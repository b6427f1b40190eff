from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from siamese.data.catalogue import Skipped
from siamese.reports import compare_embeddings, write_report_page, write_results_page
from siamese.search.searcher import QueryResult, Result

HOSTILE = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Tags and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(path) -> Page:
    text = path.read_text()
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
            assert attributes["src"].startswith("data:image/jpeg;base64,")
    # The SVG namespaces are names, not addresses to load.
    assert not re.search(r'(?:src|href)="https?:', text)
    return page


@pytest.fixture
def training_log(tmp_path):
    path = tmp_path / "training_log.csv"
    path.write_text(
        "epoch,val_recall@1,val_map@r,loss,val_loss\n0,0.1,0.05,,\n1,0.4,0.2,1.5,1.6\n2,0.5,0.3,1,1.2\n"
    )
    return path


def test_report_shows_metrics_curves_and_every_query(comparison, catalogue, training_log, tmp_path):
    path = tmp_path / "report.html"
    write_report_page(
        comparison,
        catalogue,
        path,
        models=("EfficientNetLite0", "final_model.hdf5"),
        skipped=[Skipped("cup", "cup/1.jpg", "truncated")],
        training_log=training_log,
    )
    page = read(path)
    for name in ("recall@1", "map@r"):
        assert f"{comparison.before[name]:.3f}" in page.text
        assert f"{comparison.after[name]:.3f}" in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 2
    assert "how often the most similar picture shows the same item" in page.text
    assert "item cup, cup/1.jpg: truncated" in page.text
    classes = [attributes.get("class") for tag, attributes in page.tags if tag == "figure"]
    shown = [one for query in comparison.queries for one in query.before + query.after]
    assert classes.count("query") == len(comparison.queries)
    assert classes.count("same") == sum(one.same_item for one in shown)
    assert classes.count("other") == sum(not one.same_item for one in shown)


def test_report_shows_confusions_and_leaves_no_change_uncoloured(before, catalogue, tmp_path):
    comparison = compare_embeddings(before, before)
    write_report_page(comparison, catalogue, tmp_path / "report.html", models=("a", "a"))
    page = read(tmp_path / "report.html")
    assert comparison.confusions
    for one in comparison.confusions:
        assert f"{one.count} of 8 pictures" in page.text
        assert f"✗ {one.mistaken_for.item_id}" in page.text
    numbers = [attributes["class"].split() for tag, attributes in page.tags if tag == "td"]
    assert not [names for names in numbers if "up" in names or "down" in names]


def test_curves_do_not_change_the_matplotlib_backend(comparison, catalogue, training_log, tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    write_report_page(
        comparison, catalogue, tmp_path / "r.html", models=("a", "b"), training_log=training_log
    )
    assert matplotlib.get_backend().lower() == "agg"


def test_report_without_a_training_log(comparison, catalogue, tmp_path):
    write_report_page(
        comparison,
        catalogue,
        tmp_path / "report.html",
        models=("a", "b"),
        training_log=tmp_path / "none.csv",
    )
    page = read(tmp_path / "report.html")
    assert "svg" not in dict(page.tags)
    assert "Skipped" not in page.text


def test_names_are_escaped(catalogue, tmp_path):
    picture = catalogue.pictures[0]
    result = Result(1, 0.25, HOSTILE, picture.filename, [HOSTILE])
    query = QueryResult(f"/photos/{HOSTILE}.jpg", [result])
    write_results_page([query], catalogue.image_dir, tmp_path / "results.html")
    page = read(tmp_path / "results.html")
    assert page.text.count(HOSTILE) == 2  # as item and as label, shown and not obeyed


def test_deleted_picture_leaves_a_tile(catalogue, tmp_path):
    result = Result(1, 0.25, "gone", "gone.jpg", [])
    query = QueryResult(str(catalogue.path_of(catalogue.pictures[0])), [result])
    write_results_page([query], catalogue.image_dir, tmp_path / "results.html")
    assert [tag for tag, _ in read(tmp_path / "results.html").tags].count("img") == 2
