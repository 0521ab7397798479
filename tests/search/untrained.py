"""A sweep whose training does nothing, as a program: python untrained.py '{"study": ..., ...}' EPOCH_SECONDS"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


def main() -> None:
    from no_training import NoTraining

    from architectures.errors import ProjectError
    from search.config import SweepConfig
    from search.orchestrate import sweep

    given = {key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(sys.argv[1]).items()}
    try:
        result = sweep(SweepConfig(**given), given, engine=lambda _: NoTraining(float(sys.argv[2])))
    except ProjectError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result.counts))


if __name__ == "__main__":
    main()
