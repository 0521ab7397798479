"""Hyperparameters of training that are off by default, each declared once.

Unlike elsewhere, their annotations are values, not strings, because dataclasses of other modules inherit them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, get_args, get_type_hints

from architectures.fields import Choice, Number, NumberRange, Several
from architectures.ranges import Range

ALLOWED_CLASS_WEIGHT = Choice(("none", "balanced"))
ALLOWED_LABEL_SMOOTHING = Number(0, 1, open_above=True)
ALLOWED_WEIGHT_DECAY = Number(0, 1)
ALLOWED_MOMENTUM = Number(0, 1, open_above=True)
ALLOWED_ALPHA = Number(0, 10)
ALLOWED_TEMPERATURE = Number(1, 100)
ALLOWED_DISTILLATION_WEIGHT = Number(0.01, 1)
TEACHER = "teacher"  # takes the hyperparameters of distillation


@dataclass(frozen=True)
class RecipeOption:
    """The help of a hyperparameter's option, and its name on the leaderboard."""

    help: str
    short: str
    taken_by: str = ""  # optimizer or loss, whose builder declares it and its default; or teacher
    usual: float = 0.0  # default of what a teacher takes


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters of training that are off by default.

    The options of trials and sweeps, the search space, the record in MLflow and its reading, and the leaderboard are
    derived from these fields. To add one, add a line here and in `RecipeRanges`, its effect on training (if an
    optimizer or a loss takes it, a keyword of the builder), and its name in `architectures.knobs.RUN_PARAMETERS`.
    Each is a number or a choice, and its default is the value of records that do not have it.
    """

    class_weight: Annotated[
        str,
        ALLOWED_CLASS_WEIGHT,
        RecipeOption(
            "weights of the images in the loss: with balanced, all classes count the same, whatever their size",
            "weights",
        ),
    ] = "none"
    label_smoothing: Annotated[
        float,
        ALLOWED_LABEL_SMOOTHING,
        RecipeOption("share of each training label that is spread over all classes", "smoothing", "loss"),
    ] = 0.0
    weight_decay: Annotated[
        float,
        ALLOWED_WEIGHT_DECAY,
        RecipeOption(
            "decoupled weight decay, as in AdamW: each step shrinks kernels by this times the learning rate",
            "decay",
            "optimizer",
        ),
    ] = 0.0
    momentum: Annotated[
        float,
        ALLOWED_MOMENTUM,
        RecipeOption(
            "momentum of sgd: the share of the previous step that is added to the next", "momentum", "optimizer"
        ),
    ] = 0.0
    mixup: Annotated[
        float,
        ALLOWED_ALPHA,
        RecipeOption("alpha of MixUp, which blends two training images and their labels: higher is more even", "MixUp"),
    ] = 0.0
    cutmix: Annotated[
        float,
        ALLOWED_ALPHA,
        RecipeOption(
            "alpha of CutMix, which pastes a part of one training image into another: higher is closer to half",
            "CutMix",
        ),
    ] = 0.0
    temperature: Annotated[
        float,
        Number(0, ALLOWED_TEMPERATURE.maximum),
        RecipeOption(
            "softens the answers of teacher and network: their logarithms are divided by it", "T", TEACHER, 3.0
        ),
    ] = 0.0
    distillation_weight: Annotated[
        float,
        Number(0, ALLOWED_DISTILLATION_WEIGHT.maximum),
        RecipeOption("share of the loss that compares with the teacher's answers", "taught", TEACHER, 0.5),
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class RecipeRanges:
    """The ranges (with or without a step) or choices of these hyperparameters that a sweep searches.

    None: it stays off.
    """

    class_weight: Annotated[tuple[str, ...], Several(ALLOWED_CLASS_WEIGHT, minimum=1, distinct=True)] | None = None
    label_smoothing: Annotated[Range, NumberRange(ALLOWED_LABEL_SMOOTHING)] | None = None
    weight_decay: Annotated[Range, NumberRange(ALLOWED_WEIGHT_DECAY)] | None = None
    momentum: Annotated[Range, NumberRange(ALLOWED_MOMENTUM)] | None = None
    mixup: Annotated[Range, NumberRange(ALLOWED_ALPHA)] | None = None
    cutmix: Annotated[Range, NumberRange(ALLOWED_ALPHA)] | None = None
    temperature: Annotated[Range, NumberRange(ALLOWED_TEMPERATURE)] | None = None
    distillation_weight: Annotated[Range, NumberRange(ALLOWED_DISTILLATION_WEIGHT)] | None = None


RECIPE = tuple(field.name for field in fields(Recipe))
OFF_VALUES: Mapping[str, float | str] = {name: getattr(Recipe, name) for name in RECIPE}
_MARKS = {name: hint.__metadata__ for name, hint in get_type_hints(Recipe, include_extras=True).items()}
RECIPE_OPTIONS: Mapping[str, RecipeOption] = {
    name: next(mark for mark in marks if isinstance(mark, RecipeOption)) for name, marks in _MARKS.items()
}
# What may be asked for of those that are numbers; a record has 0, too, of what was off.
ASKED: Mapping[str, Number] = {
    name: mark.each
    for name, hint in get_type_hints(RecipeRanges, include_extras=True).items()
    for mark in get_args(hint)[0].__metadata__
    if isinstance(mark, NumberRange)
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    name: tuple(map(str, mark.choices)) for name, marks in _MARKS.items() for mark in marks if isinstance(mark, Choice)
}


def recipe_of(config: Recipe) -> dict[str, float | str]:
    """Return the recipe of a configuration, by name."""
    return {name: getattr(config, name) for name in RECIPE}


def asked_of(config: Recipe) -> dict[str, float | str]:
    """Return the part of the recipe that is not off, by name.

    >>> asked_of(Recipe(class_weight="balanced"))
    {'class_weight': 'balanced'}
    """
    return {name: value for name, value in recipe_of(config).items() if value != OFF_VALUES[name]}
