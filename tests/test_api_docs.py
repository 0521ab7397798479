"""The documentation of the code: docs/api.md, docs/architecture.md, and the pages that `make docs` makes."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import subprocess
import warnings
from pathlib import Path

import pdoc
import pytest

from architectures import registry
from experiments.datasets import registry as datasets

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "api.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("architectures", "experiments", "conversion", "search", "pocketnets")
NAMES = sorted(set(re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", API)))


@pytest.mark.slow
def test_the_examples_of_the_api_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (registry, datasets):  # forget what the examples register
        module.names()
        monkeypatch.setattr(module._registry, "entries", {**module._registry.entries})
    code = re.sub("^```.*$", "", API, flags=re.MULTILINE)  # doctest would take a fence for output
    examples = doctest.DocTestParser().get_doctest(code, {"__name__": "api"}, "api.md", "docs/api.md", 0)
    said: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=said.append)
    assert not result.failed, "".join(said)
    assert result.attempted > 30


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_api_exists_and_is_documented(name: str) -> None:
    module, _, rest = name.partition(".")
    found: object = importlib.import_module(module)
    for part in rest.split("."):
        module = f"{module}.{part}"
        if not hasattr(found, part):
            importlib.import_module(module)  # a submodule is an attribute once it is imported
        found = getattr(found, part)
    assert getattr(found, "__doc__", None) or name == "search.doctor.main"


def test_every_file_of_the_architecture_exists() -> None:
    text = ARCHITECTURE.replace("<br/>", "")
    found = set(re.findall(rf"(?:{'|'.join(PACKAGES)}|tests)/[\w/]*(?:\.py)?", text))
    assert len(found) > 10
    assert not [path for path in found if not (ROOT / path).exists()]


@pytest.mark.slow
def test_the_pages_are_made_without_a_warning(tmp_path: Path) -> None:
    make = ["make", "--no-print-directory", "--dry-run", "docs"]  # `make test` may be what runs this
    told = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    line = shlex.split(told.stdout[told.stdout.index("PDOC_") :].replace("\\\n", ""))
    specifications = line[line.index("build/docs") + 1 :]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pdoc")
        warnings.filterwarnings("ignore", message=line[line.index("-W") + 1].removeprefix("ignore:"))
        pdoc.render.configure(docformat=line[line.index("--docformat") + 1], search=False, show_source=False)
        pdoc.pdoc(*specifications, output_directory=tmp_path)
    modules = {
        file.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__")
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if file.name != "__main__.py"
    }
    pages = {page.relative_to(tmp_path).with_suffix("").as_posix() for page in tmp_path.rglob("*.html")}
    assert pages == {*modules, "index"}
    assert "Train and keep the weights of the best epoch" in (tmp_path / "experiments/training/loop.html").read_text()
