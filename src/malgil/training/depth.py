"""What is trained at which share of the rate, by how far it stands below the heads.

    share                        what                                       frozen by training.freeze
    1                            heads of the objective                     never
    1                            what stands above the layers               body
    decay                        the last layer                             its number, body
    decay^n                      the first of n layers                      1 and more, body
    decay^(n + 1)                embeddings                                 0 and more, embeddings, body

Lower layers of a pretrained model know what holds for all text and need less change than upper ones (Howard and Ruder
2018, 3.2; Clark et al. 2020, appendix B; Bao et al. 2022, appendix H). What is below which: `Model.levels`.
"""

from __future__ import annotations

from torch import Tensor

from malgil.errors import ConfigError
from malgil.models.base import Model
from malgil.objectives.base import Assembled


def freeze(assembled: Assembled, what: str | None) -> None:
    """Leave parameters of the body as they are; before an optimizer is made, and before sharding.

    Args:
        what: `embeddings`; a number of layers, the lowest, with the embeddings; `body`; None: nothing.

    Raises:
        ConfigError: more layers than there are, or nothing is left to train.
    """
    if what is None:
        return
    levels = assembled.body.levels()
    n_layers = len(levels) - 2
    count = {"embeddings": 1, "body": len(levels)}.get(what) or int(what) + 1
    if what != "body" and count > n_layers + 1:
        raise ConfigError(
            f"the model has {n_layers} layers to freeze, not {what}",
            "training.freeze",
            "take fewer; an encoder's layers count before its decoder's, and ALBERT's, which are one, as one",
        )
    for level in levels[:count]:
        for parameter in level:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in assembled.parameters()):
        raise ConfigError(
            f"nothing is left to train: this objective has no head beside the body (freeze {what})",
            "training.freeze",
            "freeze fewer layers, or none",
        )


def rate_shares(body: Model, decay: float) -> dict[Tensor, float]:
    """The share of the highest rate with which each of the body's parameters is trained."""
    return {p: decay**above for above, level in enumerate(reversed(body.levels())) for p in level}
