"""`python -m conversion.runtime`: any file, without what trains networks."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conversion.runtime.__main__ import main
from tests.conversion.test_model import network, single_number, stage
from tests.support.layers import build_network
from tests.test_structure import ROOT

# Where else a module comes from than a package of its own name.
PACKAGES = {"PIL": "pillow", "google": "protobuf", "pillow_heif": "pillow-heif"}
COLD = """
import json, runpy, sys
try:
    runpy.run_module("conversion.runtime", run_name="__main__", alter_sys=True)
finally:
    with open(sys.argv.pop(), "w") as file:
        json.dump(sorted({name.partition(".")[0] for name, module in list(sys.modules.items())
                          if "site-packages" in (getattr(module, "__file__", None) or "")}), file)
"""


def saved(spec: Any, folder: Path) -> str:
    path = folder / "model.mlmodel"
    path.write_bytes(spec.SerializeToString())
    return str(path)


@pytest.fixture
def classifier(tmp_path: Path) -> str:
    """Says 0, 1, 2 by the mean of red, green, blue."""

    def write(b: Any) -> None:
        b.add_reduce_mean("mean", "image", "m", axes=[-1, -2], keepdims=False)
        b.add_softmax_nd("soft", "m", "output", -1)

    return saved(build_network(write, outputs=3), tmp_path)


@pytest.fixture
def green(tmp_path: Path) -> str:
    path = tmp_path / "green.png"
    Image.fromarray(np.full((60, 80, 3), (0, 255, 0), np.uint8)).save(path)
    return str(path)


def test_a_cold_start_imports_only_what_the_extra_lists(classifier: str, green: str, tmp_path: Path) -> None:
    """From nothing to an answer: no Keras, TensorFlow or MLflow, and nothing else that the extra lacks."""
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg")
    extra = {re.split(r"[ <>=]", line)[0] for line in listed["options.extras_require"]["runtime"].split("\n") if line}
    extra = {name for name in extra if name and name != "#"}
    names = tmp_path / "names.json"
    command = [sys.executable, "-c", COLD.replace("sys.argv.pop()", f"{str(names)!r}"), classifier, green]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "1 0.5" in done.stdout
    imported = {PACKAGES.get(name, name) for name in json.loads(names.read_text()) if not name.startswith("_")}
    assert imported <= extra | {"conversion"}
    assert {"numpy", "protobuf", "pillow"} <= imported
    documented = (ROOT / "docs" / "runtime.md").read_text()
    for line in listed["options.extras_require"]["runtime"].split("\n"):
        assert f'"{line.replace(" ", "")}"' in documented or not line or line.startswith("#")


def test_images_are_answered_one_by_one(classifier: str, green: str, capsys: Any) -> None:
    assert main([classifier, green, green, "--top", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["input"] for each in found["answers"]] == [green, green]
    for each in found["answers"]:
        assert "1" in each["outputs"].values()
    assert main([classifier, green, "--top", "2"]) == 0
    assert re.search(r"1 0\.57\d\d, [02] 0\.21\d\d\n", capsys.readouterr().out)


def test_without_inputs_it_says_what_it_asks_for(classifier: str, capsys: Any) -> None:
    assert main([classifier]) == 0
    assert "input image: RGB 6 x 8 x 3" in capsys.readouterr().out


def test_several_inputs_by_name(tmp_path: Path, capsys: Any) -> None:
    def write(b: Any) -> None:
        b.add_subtract_broadcastable("s", ["x", "y"], "z")

    path = saved(network(write, {"x": (2,), "y": (2,)}, {"z": (2,)}), tmp_path)
    np.save(tmp_path / "x.npy", np.array([5.0, 7.0]))
    assert main([path, f"x={tmp_path / 'x.npy'}", "y=1,0.5"]) == 0
    assert "z: 2: 4, 6.5\n" in capsys.readouterr().out
    assert main([path, "1,2"]) == 2
    assert "give NAME=VALUE for x: array 2, y: array 2" in capsys.readouterr().err
    assert main([path, "x=1,2"]) == 2
    assert "The input y: array 2 is missing" in capsys.readouterr().err
    assert main([path, "x=1,2", "y=red"]) == 2
    assert "neither a .npy file nor numbers: 'red'" in capsys.readouterr().err
    (tmp_path / "x.npy").write_bytes(b"no array")
    assert main([path, f"x={tmp_path / 'x.npy'}", "y=1,2"]) == 2
    assert "no array can be read from it" in capsys.readouterr().err


def test_numbers_and_what_only_apple_has(tmp_path: Path, capsys: Any) -> None:
    def fill(p: Any) -> None:
        p.weights.add(value=[2.0])
        p.offset.append(1.0)

    single_number("glmRegressor", {"x": "doubleType"}, fill, tmp_path)
    assert main([str(tmp_path / "model.mlmodel"), "3", "4"]) == 0
    assert capsys.readouterr().out == "3  y: 7.0\n4  y: 9.0\n"
    spec, p = stage("visionFeaturePrint", {"image": (1,)}, {"print": (2048,)})
    p.scene.version = 1
    assert main([saved(spec, tmp_path)]) == 3
    assert "Apple's own visionFeaturePrint" in capsys.readouterr().err
