"""The house rules that no other test would notice being broken."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from architectures.knobs import RUN_PARAMETERS
from experiments.config import RunConfig
from experiments.recipe import RECIPE_OPTIONS, Recipe, RecipeRanges
from search.trials.config import TrialConfig

ROOT = Path(__file__).parent.parent
FLOORS = ("architectures", "experiments", "conversion", "search", "pocketnets")
ENTRY_POINTS = (
    "architectures",
    "experiments.compare",
    "experiments.device",
    "experiments.inspect",
    "experiments.leaderboard",
    "experiments.prune",
    "experiments.reproduce",
    "conversion.describe",
    "conversion.draw",
    "conversion.predict",
    "conversion.promote",
    "conversion.rollback",
    "conversion.swift",
    "conversion.runtime",
    "conversion.verify",
    "search.doctor",
    "search.sweep",
    "search.trial",
    "pocketnets",
)
HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "coremltools", "numpy", "sklearn", "rich")
DOORWAYS = {"mlflow": "experiments/tracking/", "optuna": "search/", "coremltools": "conversion/", "ray": "search/"}


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@functools.cache
def imported_modules(file: Path) -> set[str]:
    """Top-level names that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


SOURCES = [file for floor in FLOORS for file in sorted((ROOT / floor).rglob("*.py"))]


def test_imports_run_one_way() -> None:
    for file in SOURCES:
        floor = FLOORS.index(file.relative_to(ROOT).parts[0])
        above = imported_modules(file) & set(FLOORS[floor + 1 :])
        assert not above, f"{file} imports {above}, which stands above it"


def test_each_heavy_library_has_one_doorway() -> None:
    for file in SOURCES:
        place = file.relative_to(ROOT).as_posix()
        for library in imported_modules(file) & DOORWAYS.keys():
            assert place.startswith(DOORWAYS[library]), f"{place} imports {library}"


def test_the_walk_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "probe.py"
    file.write_text("def f():\n    from search.study.study import Study\n    import mlflow.keras\n")
    assert imported_modules(file) == {"search", "mlflow"}


# Files beside commands that import own modules inside a function, or for type checkers only.
IMPORTED_LATE = {
    "conversion/runtime/__init__.py": "an import of the executor costs neither NumPy nor protobuf",
    "experiments/training/preparation.py": "kernels are Keras classes, and Keras is imported by the first training",
    "experiments/training/optimizers.py": "the same",
    "search/broker.py": "Ray may not be installed",
}
MOST_LATE_IMPORTS = 7  # with those for type checkers
MOST_LATE_IMPORTS_OF_A_COMMAND = 2  # of the library that it calls, and of how it is shown
MOST_LINES, MOST_LINES_OF_A_CLASS = 400, 250
MOST_METHODS = 15  # public ones of a part of the tracker


def own_imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, set[str]]]:
    """Imports of this project's modules, each with the modules that it names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names = {inner[name] if _is_module(inner[name]) else node.module for name in inner}
        else:
            continue
        if any(name.partition(".")[0] in FLOORS for name in names):
            yield node, names


@functools.cache
def _is_module(name: str) -> bool:
    place = ROOT / name.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()


def module_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


COMMANDS = {f"{name}.__main__" if (ROOT / name.replace(".", "/")).is_dir() else name for name in ENTRY_POINTS}


def test_nothing_imports_a_command() -> None:
    """`pocketnets` alone does, by the name that it is given: tests/test_console.py."""
    for file in SOURCES:
        for _, names in own_imports(tree(file)):
            assert not names & COMMANDS, f"{file} imports a command: {names & COMMANDS}"


def test_commands_alone_import_late() -> None:
    late = {}
    for file in SOURCES:
        top = tree(file).body
        indented = [node for node, _ in own_imports(tree(file)) if node not in top]
        if indented and module_of(file) not in COMMANDS:
            late[file.relative_to(ROOT).as_posix()] = len(indented)
        elif indented:
            assert len(indented) <= MOST_LATE_IMPORTS_OF_A_COMMAND, file
    assert late.keys() == IMPORTED_LATE.keys()
    assert sum(late.values()) <= MOST_LATE_IMPORTS


def test_no_import_goes_in_a_circle() -> None:
    modules = {module_of(file): file for file in SOURCES}
    needs: dict[str, set[str]] = {}
    for name, file in modules.items():
        late = {
            node
            for function in ast.walk(tree(file))
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
        }
        found = [names for node, names in own_imports(tree(file)) if node not in late]
        needs[name] = {module for names in found for module in names & modules.keys()} - {name}
    list(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle


def test_no_module_and_no_class_is_long() -> None:
    for file in SOURCES:
        assert file.read_text().count("\n") <= MOST_LINES, file
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef):
                assert (node.end_lineno or 0) - node.lineno < MOST_LINES_OF_A_CLASS, f"{file}: {node.name}"


def names_defined(file: Path) -> set[str]:
    """Public names that a module defines itself: functions, classes, constants and types."""
    found = set()
    for top in tree(file).body:
        for node in [*top.body, *top.orelse] if isinstance(top, ast.If) else [top]:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def modules_that_define() -> dict[str, list[str]]:
    """The modules that define each name."""
    found: dict[str, list[str]] = {}
    for file in SOURCES:
        for name in names_defined(file):
            found.setdefault(name, []).append(module_of(file))
    return found


def test_a_class_or_a_type_has_a_name_of_its_own() -> None:
    capitalized = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
    twice = {name: places for name, places in modules_that_define().items() if len(places) > 1}
    assert not {name: places for name, places in twice.items() if capitalized.fullmatch(name)}


GATHERED = {"OPS", "LAYERS"}  # of the modules of a package, and of all of them in the package
SAME_FOR_EACH = {"add_common", "load", "names", "show"}  # the same for each kind of thing


def imported_names() -> dict[str, set[str]]:
    """Names that modules import, with the modules that they import each from."""
    found: dict[str, set[str]] = {}
    for file in SOURCES:
        for node, _ in own_imports(tree(file)):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    found.setdefault(alias.name, set()).add(node.module)
    return found


def test_a_constant_that_others_import_has_a_name_of_its_own() -> None:
    constant = re.compile(r"[A-Z][A-Z0-9_]*[A-Z0-9]")
    twice = {name: places for name, places in modules_that_define().items() if len(places) > 1}
    imported = {name for name in imported_names() if constant.fullmatch(name)}
    assert not {name: twice[name] for name in imported & twice.keys() - GATHERED}


def test_an_imported_function_has_one_meaning() -> None:
    defined = modules_that_define()
    several = {name: places.intersection(defined.get(name, ())) for name, places in imported_names().items()}
    assert {name for name, places in several.items() if len(places) > 1} == SAME_FOR_EACH


MOST_LINES_OF_A_COMMAND = 100  # with blank lines and docstring, without `parser`, which declares the options


@pytest.mark.parametrize("module", sorted(COMMANDS))
def test_a_command_is_thin(module: str) -> None:
    """It parses, calls one function and shows the result."""
    file = ROOT / f"{module.replace('.', '/')}.py"
    options = next(node for node in tree(file).body if isinstance(node, ast.FunctionDef) and node.name == "parser")
    lines = file.read_text().count("\n") - ((options.end_lineno or 0) - options.lineno + 1)
    assert lines <= MOST_LINES_OF_A_COMMAND


def own_attribute(node: ast.Attribute) -> bool:
    """Whether an attribute is taken of the object itself, its class or what it inherits."""
    return ast.unparse(node.value) in {"self", "cls", "super()"}


def test_what_is_private_in_optuna_is_used_in_one_module() -> None:
    """Also what others inherit of it: a subclass that overrides a private method stands there."""
    for file in sorted((ROOT / "search").rglob("*.py")):
        if file.name == "optuna_private.py":
            continue
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Attribute):
                private = node.attr.startswith("_") and not node.attr.endswith("__") and not own_attribute(node)
                assert not private, f"{file}:{node.lineno}: {ast.unparse(node)}"
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "optuna":
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names), f"{file}:{node.lineno}: {ast.unparse(node)}"


def test_a_hyperparameter_is_declared_whole() -> None:
    assert [each.name for each in fields(Recipe)] == [each.name for each in fields(RecipeRanges)]
    assert {each.name for each in fields(RunConfig)} <= RUN_PARAMETERS
    off = [each.default in (0, "none") for each in fields(Recipe)]
    assert all(off)  # what a record does not name was off
    assert all(getattr(TrialConfig, name) is None for name, asked in RECIPE_OPTIONS.items() if asked.taken_by)


def test_each_part_of_the_tracker_is_small() -> None:
    for file in (ROOT / "experiments" / "tracking").glob("*.py"):
        for node in tree(file).body:
            if isinstance(node, ast.ClassDef):
                methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                public = [each.name for each in methods if not each.name.startswith("_") and not each.decorator_list]
                assert len(public) <= MOST_METHODS, f"{node.name}: {public}"


def test_lines_are_printed_by_the_one_writer() -> None:
    """`say` keeps names from a store one line of text; JSON and the starter's own text hold none that could harm."""
    allowed = {
        "architectures/display.py",
        "architectures/command.py",
        "architectures/starter.py",
        "experiments/evaluation/fonts.py",
    }
    calls = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in SOURCES
        if file.relative_to(ROOT).as_posix() not in allowed
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.stdout.write", "sys.stderr.write"}
    ]
    assert not calls


@pytest.mark.parametrize(("module", "writer"), [("html", "tables.py"), ("csv", "tables.py"), ("jinja2", "page.py")])
def test_each_medium_has_one_writer(module: str, writer: str) -> None:
    assert [file.name for file in SOURCES if module in imported_modules(file)] == [writer]


def test_pages_are_written_by_their_templates_alone() -> None:
    """Python that makes elements by hand escapes by hand: `experiments/views/templates/` does not have to."""
    allowed = {"page.py": 1, "charts.py": 1, "tables.py": 1}  # an image; a line break for Plotly; an example
    elements = re.compile(r"</?(p|b|a|h[1-6]|br|td|th|tr|table|div|span|ul|li|figure|figcaption|img|style|script)[ >]")
    found: dict[str, int] = {}
    for file in SOURCES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and elements.search(node.value):
                found[file.name] = found.get(file.name, 0) + 1
    assert found == allowed


# Who may take a data set's test images: looks, which count it, the data sets themselves, and the record of their sizes.
TEST_IMAGES = ("experiments/datasets/", "experiments/tracking/counted_looks.py", "experiments/tracking/inputs.py")


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
        if any("__name__ == '__main__'" in ast.unparse(node) for node in tree(file).body if isinstance(node, ast.If))
    }
    assert found == set(ENTRY_POINTS)


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_help_imports_nothing_heavy(module: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['-m', '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as stopped: assert stopped.code == 0\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {module} ")


def test_the_loop_of_a_sweep_needs_no_keras() -> None:
    """It draws configurations and keeps records while workers train."""
    code = (
        "import sys, search.orchestrate, search.study.study, search.trials.loop\n"
        "heavy = {'keras', 'tensorflow'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
