"""A Core ML file as the fuzzer sees it: a few members that can be changed, written, and kept as one small file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

MODEL = Path("Data", "com.apple.CoreML", "model.mlmodel")
WEIGHTS = Path("Data", "com.apple.CoreML", "weights", "weight.bin")
MANIFEST = Path("Manifest.json")


@dataclass(frozen=True)
class Sample:
    """The members of a package, or of a single file the model alone."""

    model: bytes
    weights: bytes = b""
    manifest: bytes | None = None  # None for a single file

    def write(self, folder: Path) -> Path:
        """Write what `conversion.runtime.load` takes, in the place of the last one."""
        if self.manifest is None:
            path = folder / "sample.mlmodel"
            path.write_bytes(self.model)
            return path
        path = folder / "sample.mlpackage"
        for member, content in ((MODEL, self.model), (WEIGHTS, self.weights), (MANIFEST, self.manifest)):
            (path / member).parent.mkdir(parents=True, exist_ok=True)
            (path / member).write_bytes(content)
        return path

    def keep(self, path: Path) -> None:
        """Write one file that `read` reads, the same for the same sample."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in (("model", self.model), ("weights", self.weights), ("manifest", self.manifest)):
                if content is not None:
                    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def read(path: Path) -> Sample:
    """A sample that was kept."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return Sample(members["model"], members["weights"], members.get("manifest"))


def of_package(path: Path) -> Sample:
    """A saved package."""
    weights = path / WEIGHTS
    return Sample(
        (path / MODEL).read_bytes(), weights.read_bytes() if weights.exists() else b"", (path / MANIFEST).read_bytes()
    )
