"""Write emoji as a data set like photographs: a folder per category.  Run: python benchmarks/emoji.py PACKAGE FOLDER

PACKAGE is the unpacked content of `npm pack emoji-datasource-google@16.0.0` (MIT, artwork of Google's Noto,
Apache-2.0): RGBA pictures of 64x64. Of each emoji only the base picture is used, without variants of skin tone, and
without the category `Component`: 1,906 pictures of nine categories.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("folder", type=Path, help="is made")
    arguments = parser.parse_args()
    written: Counter[str] = Counter()
    for emoji in json.loads((arguments.package / "emoji.json").read_text()):
        picture = arguments.package / "img" / "google" / "64" / emoji["image"]
        if emoji["category"] != "Component" and picture.exists():
            name = emoji["category"].replace(" & ", " and ")
            (arguments.folder / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, arguments.folder / name / f"{emoji['short_name']}.png")
            written[name] += 1
    print(f"{written.total():,} pictures: {', '.join(f'{name} {count}' for name, count in sorted(written.items()))}")


if __name__ == "__main__":
    main()
