"""The house rules that no other test would notice being broken."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("architectures", "experiments", "conversion", "search")
ENTRY_POINTS = (
    "architectures",
    "experiments.compare",
    "experiments.inspect",
    "experiments.leaderboard",
    "experiments.prune",
    "experiments.reproduce",
    "conversion.describe",
    "conversion.draw",
    "conversion.predict",
    "conversion.promote",
    "conversion.rollback",
    "conversion.runtime",
    "conversion.verify",
    "search.doctor",
    "search.sweep",
    "search.trial",
)
HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "coremltools", "numpy", "sklearn", "rich")
DOORWAYS = {"mlflow": "experiments/tracking/", "optuna": "search/", "coremltools": "conversion/", "ray": "search/"}


def imported_modules(file: Path) -> set[str]:
    """Top-level names that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


SOURCES = [file for floor in FLOORS for file in sorted((ROOT / floor).rglob("*.py"))]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    floor = FLOORS.index(file.relative_to(ROOT).parts[0])
    above = imported_modules(file) & set(FLOORS[floor + 1 :])
    assert not above, f"{file} imports {above}, which stands above it"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_heavy_library_has_one_doorway(file: Path) -> None:
    place = file.relative_to(ROOT).as_posix()
    for library in imported_modules(file) & DOORWAYS.keys():
        assert place.startswith(DOORWAYS[library]), f"{place} imports {library}"


def test_the_walk_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "probe.py"
    file.write_text("def f():\n    from search.study import Study\n    import mlflow.keras\n")
    assert imported_modules(file) == {"search", "mlflow"}


def test_lines_are_printed_by_the_one_writer() -> None:
    """`say` keeps names from a store one line of text; JSON and the starter's own text hold none that could harm."""
    allowed = {
        "architectures/display.py",
        "architectures/command.py",
        "architectures/starter.py",
        "experiments/fonts.py",
    }
    calls = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in SOURCES
        if file.relative_to(ROOT).as_posix() not in allowed
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.stdout.write", "sys.stderr.write"}
    ]
    assert not calls


@pytest.mark.parametrize("module", ["html", "csv"])
def test_each_medium_has_one_writer(module: str) -> None:
    assert [file.name for file in SOURCES if module in imported_modules(file)] == ["tables.py"]


# Who may take a data set's test images: looks, which count it, the data sets themselves, and the record of their sizes.
TEST_IMAGES = ("experiments/datasets/", "experiments/tracking/looks.py", "experiments/tracking/inputs.py")


def test_split_uses(source: str) -> list[str]:
    """Expressions that take a data set's test images, or may: `x.test`, `getattr(dataset, name)`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr == "test":
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "vars", "asdict", "attrgetter"}:
            text = ast.unparse(node)
            data = bool(node.args) and ast.unparse(node.args[0]).rpartition(".")[2] in {"dataset", "data"}
            if data or "'test'" in text:
                found.append(text)
    return found


test_split_uses.__test__ = False  # a helper


def test_only_a_counted_look_takes_the_test_images() -> None:
    places = [*SOURCES, *sorted((ROOT / "benchmarks").rglob("*.py"))]
    for file in places:
        place = file.relative_to(ROOT).as_posix()
        if not place.startswith(TEST_IMAGES):
            assert not test_split_uses(file.read_text()), f"{place} takes test images without a look: look_at_test"


def test_the_walk_sees_every_way_to_the_test_images() -> None:
    for source in ("d.test.images", "getattr(candidate.dataset, part)", "vars(dataset)", "getattr(x, 'test')"):
        assert test_split_uses(source), source
    assert not test_split_uses("getattr(layer, name); candidate.split('test'); evidence.on('test')")


def test_every_entry_point_is_listed() -> None:
    found = {
        file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__main__")
        for file in SOURCES
        if any(
            "__name__ == '__main__'" in ast.unparse(node)
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.If)
        )
    }
    assert found == set(ENTRY_POINTS)


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_help_imports_nothing_heavy(module: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{module!r}, '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as stopped: assert stopped.code == 0\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {module} ")
