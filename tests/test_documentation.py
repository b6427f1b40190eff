"""What the command line takes is documented, and what is documented it takes."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import utilities
from siamese.cli.main import cli
from tools.make_command_line_page import PAGE, render_command, render_page

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
DOCS = "\n".join(path.read_text() for path in PAGES if path.name != "CONTRIBUTING.md")
ARCHITECTURE = ROOT / "docs" / "architecture.md"
COMMANDS = {**cli.commands, "utilities.py": utilities.main}
HEAVY = {
    "tensorflow",
    "openvino",
    "keras",
    "sklearn",
    "scipy",
    "numpy",
    "PIL",
    "matplotlib",
    "h5py",
    "jinja2",
}


def flags(command: click.Command) -> list[str]:
    return [
        flag
        for option in command.params
        if not getattr(option, "hidden", False)
        for flag in (*option.opts, *option.secondary_opts)
    ]


def test_the_command_line_page_is_up_to_date():
    assert PAGE.read_text() == render_page(), "run make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_flag_is_on_the_page(name):
    page = render_command(name, COMMANDS[name])
    options = [flag for flag in flags(COMMANDS[name]) if flag.startswith("-")]
    assert [flag for flag in options if not re.search(rf"{flag}(?![\w-])", page)] == []


def test_no_flag_is_documented_that_is_not_there():
    known = {flag for command in COMMANDS.values() for flag in flags(command)}
    known |= {"--help", "--engine"}  # a hidden alias, for one release
    for benchmark in (ROOT / "benchmarks").glob("*.py"):
        flag = r'^ *(?:\w+\.add_argument\()?"(--[a-z-]+)"'
        known |= set(re.findall(flag, benchmark.read_text(), re.M))
    # What stands before an image's name are Docker's own flags; Milvus Lite and Ray have theirs.
    others = (
        r"(nvidia-)?docker (build|run|compose)\b.*?(siamese:\w+|$)"
        r"|milvus-lite server .*|ray start[^`\n]*"
    )
    ours = re.sub(others, "", DOCS, flags=re.M)
    documented = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours))
    assert documented <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_help_text_and_no_summary_is_cut(name):
    command = COMMANDS[name]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
    if name in cli.commands:
        assert not command.get_short_help_str(60).endswith("...")


@pytest.mark.parametrize("words", [[], *([name] for name in cli.commands)])
def test_help_loads_nothing_heavy(words):
    program = (
        "import sys; from siamese.cli.main import cli\n"
        f"cli({[*words, '--help']!r}, standalone_mode=False)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == "[]\n"


def test_the_readme_runs():
    """Every Python line of the README is valid, and every name it uses is there."""
    import siamese

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    compile(code, "README.md", "exec")
    for name in set(re.findall(r"siamese\.(\w+)", (ROOT / "README.md").read_text())):
        assert hasattr(siamese, name), name


def test_every_link_between_pages_leads_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            found = page if not path else (page.parent / path).resolve()
            if not found.exists() or (anchor and anchor not in anchors(found)):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub and MkDocs give to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    words = (re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles)
    return {re.sub(r"\s+", "-", word) for word in words}


def test_every_name_in_backticks_exists():
    """`siamese.data.images.square_picture` in a docstring or a page is a real name."""
    texts = [*PAGES, *(ROOT / "siamese").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in texts
        if path.name != "CHANGELOG.md"
        for name in re.findall(r"`(siamese(?:\.\w+)+)", path.read_text())
        if not is_defined(name)
    }
    assert wrong == set()


def is_defined(name: str) -> bool:
    """Tell whether a dotted name is a module of the package, or defined in one, without imports."""
    _, *parts = name.split(".")
    path = ROOT / "siamese"
    for place, part in enumerate(parts):
        if (path / part).is_dir():
            path = path / part
        elif (path / f"{part}.py").is_file():
            return defines(path / f"{part}.py", parts[place + 1 :])
        else:
            return defines(path / "__init__.py", parts[place:])
    return True


def defines(module: Path, names: list[str]) -> bool:
    """Tell whether a module defines or imports a name, and a class of that name the next one."""
    body: list[ast.stmt] = ast.parse(module.read_text()).body
    for name in names:
        found = [node for node in walk(body) if name in bound_names(node)]
        if not found:
            return False
        if isinstance(found[-1], ast.Import | ast.ImportFrom):
            return True  # its own module answers for the rest
        body = getattr(found[-1], "body", [])
    return True


def walk(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.FunctionDef):  # if TYPE_CHECKING; self.name = … in methods
            yield from walk(node.body)


def bound_names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {
        getattr(part, "id", getattr(part, "attr", ""))
        for target in targets
        for part in getattr(target, "elts", [target])
    }


FEATURES = re.findall(r"^\| ([^|]+) \| `([^`]+)` \|$", ARCHITECTURE.read_text(), re.M)


def test_the_architecture_page_names_the_file_of_each_feature():
    assert len(FEATURES) >= 40
    assert [path for _, path in FEATURES if not (ROOT / path).is_file()] == []


def example(path: str) -> str:
    """Return the code that the architecture page shows for a file."""
    pattern = rf'```python title="{re.escape(path)}"\n(.*?)```'
    (code,) = re.findall(pattern, ARCHITECTURE.read_text(), re.DOTALL)
    return code


def load_example(path: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Run the code of an example as the module that its path names."""
    name = path.removesuffix(".py").replace("/", ".")
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(example(path), path, "exec"), vars(module))
    return module


@pytest.mark.parametrize("settings", [{}, {"alpha": 2.0, "margin": 0.1}])
def test_the_example_of_a_loss_passes_its_own_test(settings, monkeypatch):
    from tests.losses.conftest import batch

    load_example("siamese/losses/binomial_deviance.py", monkeypatch)
    test = load_example("tests/losses/test_binomial_deviance.py", monkeypatch)
    test.test_matches_the_formula(batch(0), settings)


def test_the_example_of_a_backend_writes_and_opens_an_index(monkeypatch, tmp_path):
    import numpy as np

    from siamese.models.facts import ModelFacts

    load_example("siamese/indexes/npz/index.py", monkeypatch)
    backend = load_example("siamese/indexes/npz/backend.py", monkeypatch).NpzBackend()
    vectors = np.eye(4)[[0, 1, 2, 3, 0]]
    metadata = [{"item_id": str(row), "filename": f"{row}.jpg", "labels": []} for row in range(5)]
    facts = ModelFacts("tiny", "0" * 64, 4, 32, None)
    place = tmp_path / "search_index.npz"
    backend.prepare(place)
    backend.build(place, vectors, metadata, [b""] * 5, facts)
    index = backend.open(place)
    assert backend.recognises(place) and backend.watch(place)() is not None
    assert index.model == facts and index.metadata_of([4]) == [metadata[4]]
    distances, rows = index.query(np.eye(4)[:1], k=3)
    assert sorted(rows[0][:2]) == [0, 4] and distances[0] == pytest.approx([0, 0, 2**0.5])


def test_the_example_of_a_command_runs(monkeypatch, tmp_path):
    command = load_example("siamese/cli/labels.py", monkeypatch).labels
    items = {
        f"mug-{n}": {"images": [{"filename": f"{n}.jpg"}], "labels": ["red", "old"][: n % 3]}
        for n in range(6)
    }
    (tmp_path / "items.json").write_text(json.dumps(items))
    done = CliRunner().invoke(command, ["--labeled-data", str(tmp_path / "items.json"), "--json"])
    assert json.loads(done.stdout) == {"red": 4, "old": 2}
