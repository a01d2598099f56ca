"""Names of classes: whether the model's and the data's are the same, and which class weight belongs to which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.classification import (
    ClassificationData,
    balanced_class_weights,
    class_counts,
    fit_to_model,
    name_classes,
    show_labels,
)

if TYPE_CHECKING:
    from hf_squareloss.training import LossArguments

_SHOWN = 10


def fit_classes(data: ClassificationData, config: Any, *, train: bool, verbose: bool) -> ClassificationData:
    """Give a config the classes of the data, and the data the order of the model's classes.

    Args:
        data: as loaded.
        train: whether the model is about to be trained: otherwise its classes must be the data's.
        verbose: print what differs.

    Raises:
        ValueError: as `class_difference` and `fit_to_model`.
    """
    difference = class_difference(data, config, training=train)
    if difference and verbose:
        print(difference)  # noqa: T201
    data = fit_to_model(data, config, train=train)
    name_classes(config, data)
    return data


def class_difference(data: ClassificationData, config: Any, *, training: bool) -> str:
    """One line about classes of the model that the data name differently; empty where there is nothing to say.

    Names that differ in upper and lower case alone are the same, and the data may lack some. A model may not name its
    classes (LABEL_0, LABEL_1), and the data may give the positions of the model's classes (0, 1): then they are paired
    by position.

    Args:
        data: before `fit_to_model`.
        config: the model's.
        training: whether the model is about to learn the data's classes.

    Raises:
        ValueError: the names differ, and nothing is learnt.
    """
    theirs, ours = list((config.id2label or {}).values()), data.label_names
    if not training and (len(theirs) == 1) != (ours is None) and ours != []:
        kinds = ("a value", "a class") if ours else ("a class", "a value")
        raise ValueError(
            f"the model gives each example {kinds[0]}, and the data {kinds[1]}: say --label_type "
            f"{'values' if ours else 'classes'}, or train the model for the data with --do_train"
        )
    if not ours or same_classes(ours, theirs):
        return ""
    unnamed = theirs == [f"LABEL_{i}" for i in range(len(theirs))]
    if training:
        return "" if unnamed else f"The model told {_listed(theirs)} apart; it is trained for {_listed(ours)} now"
    if len(ours) == len(theirs) and (unnamed or ours == [str(i) for i in range(len(theirs))]):
        pairs = [f"{a} is {b}" for a, b in zip(theirs, ours, strict=True)]
        return f"The classes of model and data are paired by position: {_listed(pairs)}"
    raise ValueError(
        f"the model's classes are {_listed(theirs)} and the data's {_listed(ours)}: give the data the model's names, "
        "or train the model for the data's with --do_train"
    )


def same_classes(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether each of the names is one of the model's, whatever their case."""
    folded = [[name.casefold() for name in names] for names in (ours, theirs)]
    unique = all(len(set(names)) == len(names) for names in folded)
    return list(ours) == list(theirs) or (unique and set(folded[0]) <= set(folded[1]))


def fit_loss_to_data(args: LossArguments, data: ClassificationData, *, train: bool, verbose: bool) -> None:
    """Make `args.class_weights` numbers in the order of the classes, and print what a reader of a training should know.

    Args:
        data: after `fit_to_model`.
        train: whether the training labels are used.

    Raises:
        ValueError: as `bind_class_weights` and `balanced_class_weights`.
    """
    if train and verbose:
        show_labels(data)
    if data.label_names is None and args.class_weights is not None:
        raise ValueError("class_weights would be ignored: the labels are values, a regression")
    if train and args.class_weights == "balanced":
        args.class_weights = ",".join(map(repr, balanced_class_weights(class_counts(data))))
    pairs = bind_class_weights(args, data)
    if pairs and train and verbose:
        print(pairs)  # noqa: T201


def bind_class_weights(args: LossArguments, data: ClassificationData) -> str:
    """Put class weights given by name into the order of the classes; one line that says which class has which.

    Args:
        args: `class_weights` becomes numbers in the order of `data.label_names`.
        data: after `fit_to_model`.

    Returns:
        The pairs, or nothing where there are no weights.

    Raises:
        ValueError: a name that is no class, a class without a weight, or another number of weights than of classes.
    """
    names = data.label_names
    if names is None or args.class_weights == "balanced":  # a regression; or nothing is trained
        return ""
    if args.class_weights is not None and "=" in args.class_weights:
        given = args.named_class_weights()
        unknown, missing = [name for name in given if name not in names], [name for name in names if name not in given]
        if unknown:
            raise ValueError(f"class_weights: no class is called {unknown[0]!r}; the classes are {_listed(names)}")
        if missing:
            raise ValueError(f"class_weights: no weight for {_listed(missing)}")
        args.class_weights = ",".join(repr(given[name]) for name in names)
    weights = args.make_loss().class_weights
    if weights is None:
        return ""
    if len(weights) != len(names):
        raise ValueError(f"{len(weights)} class_weights for {len(names)} classes: {_listed(names)}")
    return f"Class weights: {_listed([f'{name}={weight:.4g}' for name, weight in zip(names, weights, strict=True)])}"


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
