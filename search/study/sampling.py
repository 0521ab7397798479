"""Samplers by name: Optuna's object for each, and what it can and cannot search."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler

from architectures.errors import ProjectError, UsageError
from search.config import EXHAUSTIVE, SAMPLERS, SweepConfig
from search.engines.messages import KnownArchitecture
from search.grid import grid_of
from search.study.pruning import GATHERED, RANDOM_TRIALS

PACKAGES = {"cmaes": ("cmaes", "samplers"), "gp": ("torch", "gp")}  # what Optuna imports for a sampler, and our extra


class BruteForce(optuna.samplers.BruteForceSampler):
    """Optuna's sampler without `Study.stop` after the last combination, which only `Study.optimize` allows."""

    def after_trial(self, *_: object) -> None:
        pass


def sampler_of(config: SweepConfig, number: int) -> BaseSampler:
    """Return the sampler for a trial: its suggestion depends only on the seed, the number and the trials before it.

    A grid is enqueued instead of using Optuna's GridSampler, which does not support hyperparameters of a single
    architecture, and would repeat identical trials. What an `--enqueue` configuration leaves open is drawn.
    """
    seed = (config.seed + number) % 2**32
    samplers = optuna.samplers
    if config.sampler == "tpe":
        # With several objectives paused trials have no values by which TPE could tell them apart.
        drawn = GATHERED if config.halves and len(config.objectives) > 1 else RANDOM_TRIALS
        return samplers.TPESampler(multivariate=True, n_startup_trials=drawn, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match config.sampler:
            case "gp":
                return samplers.GPSampler(seed=seed, n_startup_trials=RANDOM_TRIALS, warn_independent_sampling=False)
            case "cmaes":
                return samplers.CmaEsSampler(
                    seed=seed,
                    n_startup_trials=RANDOM_TRIALS,
                    warn_independent_sampling=False,
                    independent_sampler=samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed),
                )
            case "bruteforce":
                return BruteForce(seed)
    return samplers.RandomSampler(seed)


def check_sampler(config: SweepConfig) -> None:
    """Reject a sampler that does not fit the search space.

    Raises:
        UsageError: with what is allowed.
        ProjectError: if a required package is not installed.
    """
    name, continuous = config.sampler, config.space.continuous
    others = "Choose " + ", ".join(other for other in SAMPLERS if other != name).replace(", brute", " or brute")
    if name in EXHAUSTIVE and continuous:
        first, limits = next(iter(continuous.items()))
        option = f"--{first.replace('_', '-')}"
        given = f"{limits[0]:g}:{limits[1]:g}"
        low, high = limits[0], limits[1]
        step = math.sqrt(high / low) if first == "learning_rate" else (high - low) / 4
        raise UsageError(
            f"--sampler {name} tries each combination once, but {option} {given} is continuous: add a step, such as "
            f"{option} {given}:{step:.3g}, or give a single number."
        )
    if name == "cmaes" and len(config.objectives) > 1:
        raise UsageError(
            f"--sampler cmaes does not fit --objective {','.join(config.objectives)}: CMA-ES optimises one figure. "
            f"{others}."
        )
    if name == "cmaes" and not continuous:
        raise UsageError(
            f"--sampler cmaes draws numbers from ranges, and here everything is a choice. Give a range, such as "
            f"--learning-rate 1e-4:1e-2. {others}."
        )
    package, extra = PACKAGES.get(name, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise ProjectError(f"--sampler {name} needs the package {package}: pip install 'pocketnets[{extra}]'.")


def sampler_note(config: SweepConfig, architectures: Sequence[KnownArchitecture]) -> str:
    """Return what is worth knowing about the sampler before the first trial; empty if nothing is."""
    if config.sampler == "cmaes":
        choices = sorted({name for known in architectures for name in config.space.choices(known)})
        return f"cmaes draws {', '.join(config.space.continuous)}; TPE draws the choices: {', '.join(choices)}"
    if config.sampler not in EXHAUSTIVE:
        return ""
    size = grid_of(config.space, architectures).size
    tries = f"--trials {config.trials} tries {config.trials} of them" if config.trials < size else "all are tried"
    return f"{config.sampler}: {size:,} combination{'s' if size > 1 else ''}; {tries}"
