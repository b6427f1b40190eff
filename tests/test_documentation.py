"""What the command line takes is documented, and what is documented it takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import utilities
from siamese.cli.main import cli
from siamese.training.recipe import LEARNING_RATE, OTHER_LEARNING_RATE, Recipe

ROOT = Path(__file__).resolve().parent.parent
DOCS = "\n".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
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
    return [flag for option in command.params for flag in (*option.opts, *option.secondary_opts)]


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_and_flag_is_documented(verb):
    assert verb == "utilities.py" or f"siamese {verb}" in DOCS
    options = [flag for flag in flags(COMMANDS[verb]) if flag.startswith("-")]
    assert [flag for flag in options if not re.search(rf"{flag}(?![\w-])", DOCS)] == []


def test_no_flag_is_documented_that_is_not_there():
    known = {flag for command in COMMANDS.values() for flag in flags(command)} | {"--help"}
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


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_flag_has_a_help_text_and_no_summary_is_cut(verb):
    command = COMMANDS[verb]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
    if verb in cli.commands:
        assert not command.get_short_help_str(60).endswith("...")


def test_documented_defaults_of_training_are_those_of_the_recipe():
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \| `?([\w.-]+)`? \|", DOCS, re.MULTILINE))
    assert set(rows) >= {"epochs", "batch-size", "sampling", "pooling"}
    # What the sampling decides: random pairs have a loss of their own.
    assert rows.pop("loss") == "multi-similarity"
    assert (
        f"| {LEARNING_RATE}, or {OTHER_LEARNING_RATE} with another pretrained `--backbone` |"
        in DOCS
    )
    for flag, documented in rows.items():
        field = {"held-out-share": "held_out"}.get(flag, flag.replace("-", "_"))
        value = getattr(Recipe, field)
        words = "none" if value is None else "off" if value is False else str(value)
        assert documented == words, flag


@pytest.mark.parametrize("words", [[], *([verb] for verb in cli.commands)])
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
