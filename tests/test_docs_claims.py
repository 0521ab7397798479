"""What the documents claim about the code is so: options, quoted errors, the executor's coverage, recorded names."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
import tokenize
from functools import cache
from pathlib import Path

import pytest

from tests.support.documents import ROOT, Block, blocks, documents, spans
from tests.test_structure import ENTRY_POINTS, SOURCES

# Options of other programs that the documents name outside of blocks that are run.
FOREIGN = {
    "--allowed-hosts": "mlflow server",
    "--artifacts-destination": "mlflow server",
    "--ntasks-per-node": "Slurm",
}
ERROR = re.compile(r"error: (?P<message>.+)")


def _parser(module: str) -> argparse.ArgumentParser:
    package = (ROOT / module.replace(".", "/")).is_dir()
    return importlib.import_module(f"{module}.__main__" if package else module).parser()


def options(module: str) -> set[str]:
    """The long options of an entry point, as its --help shows them."""
    strings = [option for action in _parser(module)._actions for option in action.option_strings]
    return {option for option in strings if option.startswith("--")}


@cache
def _text(document: str) -> str:
    return (ROOT / document).read_text()


def _manual() -> list[str]:
    """The documents that describe the commands: not the log of findings and of changes."""
    return [name for name in documents() if name not in ("experiments/LOG.md", "CHANGELOG.md")]


def _templates() -> list[str]:
    return sorted(str(file.relative_to(ROOT)) for file in (ROOT / "experiments/views/templates").glob("*.j2"))


def _commands(document: str) -> list[tuple[str, str, set[str]]]:
    """Our entry points and benchmarks as a document calls them: the whole, the module or file, its options."""
    lines = [span for span in spans(document) if span.startswith(("python ", "make "))]
    for block in blocks(document):
        if block.language == "sh":
            lines += block.code.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        line = re.sub(r'make sweep ARGS="([^"]*)"', r"python -m search.sweep \1", line)
        for match in re.finditer(r"python (?:-m (?P<module>[\w.]+)|(?P<file>[\w/]+\.py))(?P<rest>[^|;&)]*)", line):
            words = shlex.split(match["rest"].replace("...", ""), comments=True)
            given = {word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2}
            found.append((line.strip(), match["module"] or match["file"], given))
    return found


@pytest.mark.parametrize("document", _manual())
def test_commands_in_documents_have_the_options_they_are_given(document: str) -> None:
    for line, what, given in _commands(document):
        if what in ENTRY_POINTS:
            assert given <= options(what), f"{document}: {line}: no option {given - options(what)}"
        elif what.endswith(".py") and (ROOT / what).exists():
            source = (ROOT / what).read_text()
            assert all(option in source for option in given), f"{document}: {line}"
        elif what.partition(".")[0] in {"architectures", "experiments", "conversion", "search", "benchmarks"}:
            pytest.fail(f"{document}: there is no {what}: {line}")


@pytest.mark.parametrize("document", _manual())
def test_options_that_documents_name_exist(document: str) -> None:
    known = set().union(*map(options, ENTRY_POINTS)) | FOREIGN.keys()
    for span in spans(document):
        if span.startswith("--"):
            for option in re.findall(r"--[a-z][a-z-]+", span):
                assert option in known, f"{document}: no command has {option}"


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_every_option_is_documented(module: str) -> None:
    """Where a document names the command; what all have in common is in docs/commands.md."""
    naming = [_text(name) for name in _manual() if f"python -m {module}" in _text(name)]
    missing = [
        option
        for option in options(module) - {"--help"}
        if not any(re.search(rf"{option}(?![\w-])", text) for text in naming)
    ]
    assert not missing, f"no document that names python -m {module} says what {', '.join(sorted(missing))} does"


def _pattern(node: ast.AST) -> str:
    """A text in the code as a regular expression, in which anything stands where a value is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_pattern, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pattern(node.left) + _pattern(node.right)
    return ".*"


PROGRAMS = ("python", "make", "mlflow", "optuna-dashboard", "pip", "ray", "srun")


@pytest.mark.parametrize("document", [name for name in _manual() if re.fullmatch(r"README\.md|docs/.*", name)])
def test_commands_in_the_text_stand_in_a_block_too(document: str) -> None:
    """Where they are run, or marked with the reason why not. What follows a placeholder may differ."""
    shown = [block.code for name in _manual() for block in blocks(name) if block.language == "sh"]
    for span in spans(document):
        words = span.split()
        if len(words) > 1 and words[0] in PROGRAMS and "..." not in words[1:3]:
            ends = (place for place, word in enumerate(words) if re.match(r"[A-Z_]+$|\[[A-Z]|\.\.\.", word))
            start = " ".join(words[: next(ends, len(words))])
            whole = re.compile(re.escape(start) + r"(?![\w-])")
            assert any(whole.search(code) for code in shown), f"{document}: `{span}` stands in no block"


@pytest.mark.parametrize("document", _manual())
def test_files_that_documents_name_exist(document: str) -> None:
    folders = "architectures|benchmarks|conversion|docs|examples|experiments|ios|search|tests"
    for span in spans(document):
        for name in re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./-]*\w", span):
            base = (ROOT / document).parent if document.startswith(("ios/", "examples/")) else ROOT
            made = name.startswith(("ios/Digits/Model", "ios/Models"))  # by a promotion
            assert made or (ROOT / name).exists() or (base / name).exists(), f"{document}: there is no {name}"


@cache
def _messages() -> list[re.Pattern[str]]:
    """Every text in the code that says something by itself."""
    nodes = [node for file in SOURCES for node in ast.walk(ast.parse(file.read_text()))]
    found = {_pattern(node) for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)}
    return [re.compile(pattern) for pattern in found if len(pattern.replace(".*", "")) >= 12]


def _quoted_errors() -> list[tuple[str, str]]:
    found = []
    for document in _manual():
        shown = [line for block in blocks(document) if block.language == "text" for line in block.code.splitlines()]
        for text in [*shown, *spans(document)]:
            match = ERROR.match(text.strip())
            if match:
                found.append((document, match["message"]))
    return found


@pytest.mark.parametrize(("document", "message"), _quoted_errors())
def test_quoted_errors_are_in_the_code(document: str, message: str) -> None:
    """One text of the code fits the whole line: what is quoted is what a person will see."""
    bare = re.sub(r" \(see python -m [\w.]+ --help\)$", "", message)
    bare = re.sub(r"^argument [^:]+: ", "", bare)
    said = any(pattern.fullmatch(text) for pattern in _messages() for text in (bare, f"error: {bare}"))
    assert said, f"{document}: no text of the code is: {message}"


def test_the_search_for_quoted_errors_can_fail() -> None:
    assert len(_quoted_errors()) > 10
    assert not any(pattern.fullmatch("Unknwon architecture 'mien'. Registered: pocket.") for pattern in _messages())


# Turns of phrase that no native maintainer writes, each of which stood in a document or a message once.
ODD = re.compile(
    r"the house\b|look number|looks? at (?:the )?test|as certain as right|is, and is not|\b(?:is|are) told\b|"
    r"unless (?:it is )?told|unless given|surest|gone on with|goes on as it|\bof one's own\b|"
    r"signs? of life|as it should be|in spite of|\bmend|\bwins? over|\bbeside (?:the|a)\b|tells? the truth|"
    r"\blies? in the (?:folder|file)|stands? in the (?:line|page)|\bat its highest\b|hold\w* \S+ (?:\S+ )?against|"
    r"what came\b|for what they are worth|\bas far as the memory\b|\blooked at\b|\blooks are counted|\bin vain\b|"
    r"something else than|\blets? it go on|\bof its name\b|\bgive smaller\b|\bsmaller significantly worse|"
    r"\bby who\b|\bas so many\b|\bare the most(?! \w)|beyond all measure|\bthe very (?:pixels|same)\b|"
    r"\bis away\b|would stay so|\bnobody up\b|\bhanded out\b|\bmade anew\b|\bis no fault\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("document", [*_manual(), *_templates()])
def test_documents_and_pages_are_in_plain_english(document: str) -> None:
    found = [match[0] for match in ODD.finditer(_text(document))]
    assert not found, f"{document}: say it as a native speaker would: {', '.join(found)}"


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_help_is_in_plain_english(module: str) -> None:
    found = [match[0] for match in ODD.finditer(" ".join(_parser(module).format_help().split()))]
    assert not found, f"python -m {module} --help: say it as a native speaker would: {', '.join(found)}"


def _texts(file: Path) -> list[tuple[int, str]]:
    """Return messages and docstrings of a module by line, with an ellipsis in place of values."""
    tree = ast.parse(file.read_text())
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr) and node not in parts]
    return [(node.lineno, re.sub(r"\\(.)", r"\1", _pattern(node).replace(".*", "…"), flags=re.S)) for node in texts]


def _comments(file: Path) -> list[tuple[int, str]]:
    """Return the comments of a module by line; one that continues on the next lines is a single text."""
    found: list[tuple[int, str]] = []
    last = 0
    with tokenize.open(file) as opened:
        for token in tokenize.generate_tokens(opened.readline):
            if token.type == tokenize.COMMENT:
                line, text = token.start[0], token.string.removeprefix("#")
                if line == last + 1 and token.line.lstrip().startswith("#"):
                    found[-1] = (found[-1][0], found[-1][1] + text)
                else:
                    found.append((line, text))
                last = line
    return found


def _written(file: Path) -> list[tuple[int, str]]:
    """Return everything that a module says, by line: messages, docstrings and comments."""
    texts = [(line, " ".join(text.split())) for line, text in [*_texts(file), *_comments(file)]]
    return sorted((line, text) for line, text in texts if " " in text)


def test_messages_docstrings_and_comments_are_in_plain_english() -> None:
    found = {
        f"{file.relative_to(ROOT)}:{line}: {match[0]}"
        for file in SOURCES
        for line, text in _written(file)
        for match in ODD.finditer(text)
    }
    assert not found, "say it as a native speaker would"


def test_the_search_for_odd_texts_can_fail(tmp_path: Path) -> None:
    (file := tmp_path / "odd.py").write_text(
        '"""It was looked\nat."""\nraise ValueError(f"{name} was looked" " at")  # It was looked\n# at.\n'
    )
    found = _written(file)
    assert found == [(1, "It was looked at."), (3, "It was looked at."), (3, "… was looked at")]
    assert all(ODD.search(text) for _, text in found)


def _table(document: str, heading: str) -> dict[str, list[set[str]]]:
    """Rows of the first table under a heading: the first cell's text, and the `code` of each other cell."""
    _, _, rest = _text(document).partition(f"\n{heading}\n")
    section = re.split(r"\n#+ ", rest)[0]
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip(): [set(re.findall(r"`([^`]+)`", cell)) for cell in row[1:]] for row in rows[2:]}


EXECUTOR = "docs/coreml-executor.md"


@pytest.mark.parametrize("format", ["mlmodel", "mlpackage"])
def test_the_executor_executes_what_its_document_says(format: str) -> None:
    from conversion.runtime import mil_ops, nn_layers

    heading, package, tables = {
        "mlmodel": ("## Layers of an `.mlmodel`", nn_layers, "LAYERS"),
        "mlpackage": ("## Operations of an `.mlpackage`", mil_ops, "OPS"),
    }[format]
    rows = _table(EXECUTOR, heading)
    groups = {name: set(getattr(getattr(package, name), tables)) for name in rows if hasattr(package, name)}
    assert {name: cells[0] for name, cells in rows.items() if name in groups} == groups
    assert set().union(*groups.values()) == set(getattr(package, tables))
    if format == "mlpackage":
        assert rows["compressed constants"][0] == set(mil_ops.CONSTANT_EXPRESSIONS)
    assert rows.keys() - groups.keys() <= {"compressed constants", "program"}


def test_what_the_executor_leaves_out_is_named() -> None:
    from conversion.runtime.nn_layers import LAYERS
    from conversion.runtime.schema import model_class

    model = model_class().DESCRIPTOR
    layer = model.fields_by_name["neuralNetwork"].message_type.fields_by_name["layers"].message_type
    kinds = {field.name for field in layer.oneofs_by_name["layer"].fields}
    _, _, rest = _text(EXECUTOR).partition("\nNot executed")
    named = set(re.findall(r"`([^`]+)`", rest.partition("\n\n")[0]))
    assert named == kinds - LAYERS.keys()


RECORDS = "docs/records.md"


def test_what_mlflow_holds_is_what_a_sweep_recorded(swept: object) -> None:
    """Every parameter, metric and tag of a kept run is named in the document, and nothing else is named there."""
    from mlflow import MlflowClient

    client = MlflowClient(swept.uri, swept.uri)
    runs = client.search_runs([client.get_experiment_by_name("mnist5k").experiment_id])
    trials = [run.data for run in runs if "mlflow.parentRunId" in run.data.tags]
    rows = _table(RECORDS, "## What MLflow holds")
    named = {kind: {word for span in cells[0] for word in span.split()} for kind, cells in rows.items()}
    parameters = set().union(*(run.params for run in trials))
    assert parameters <= named["parameters"]
    metrics = set().union(*(run.metrics for run in trials))
    assert metrics == named["metrics of each epoch"] | named["metrics at the end"]
    tags = set().union(*(run.tags for run in trials))
    own = {tag for tag in tags if not tag.startswith(("mlflow.", "version.", "setting."))}
    assert own <= named["tags"], own - named["tags"]


def test_exit_codes_are_those_of_the_code() -> None:
    from architectures import command, errors
    from conversion.promotion.pipeline import PromotionRefused
    from conversion.runtime import CorruptModel, NotCheckable

    rows = _table("docs/commands.md", "## Exit codes")
    codes = {errors.ProjectError.exit_code, errors.UsageError.exit_code, CorruptModel.exit_code}
    codes |= {PromotionRefused.exit_code, NotCheckable.exit_code, command.INTERRUPTED, command.READER_LEFT, 0}
    assert {int(code) for code in rows} == codes


def test_blocks_of_a_document_are_found(tmp_path: Path) -> None:
    """The reader of documents, on one that has everything."""
    file = tmp_path / "probe.md"
    file.write_text(
        "# Some `code`: a title\n\ntext\n\n<!-- not run: it needs a Mac -->\n<!-- exit: 3 -->\n```sh\nmake\n```\n\n"
        "- in a list\n\n  ```\n  plain\n  ```\n\n<!-- output -->\n\nnot above a block\n\n```text\nx\n```\n"
    )
    name = str(file)  # `ROOT / absolute` is the absolute path
    found = blocks(name)
    assert found[0] == Block(name, 7, "sh", "make\n", {"not run": "it needs a Mac", "exit": "3"})
    assert [(block.language, block.code, block.marks) for block in found[1:]] == [
        ("", "plain\n", {}),
        ("text", "x\n", {}),
    ]
    from tests.support.documents import anchors

    assert anchors(name) == {"some-code-a-title"}
