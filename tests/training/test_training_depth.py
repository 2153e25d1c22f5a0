"""Which parameters are frozen, at what share of the rate the others are trained, and that frozen ones stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from training_cases import MODELS, equal, gradients, trainer, weights

from malgil.errors import ConfigError, InputError
from malgil.models import FAMILIES, build_model
from malgil.objectives.base import Assembled
from malgil.runtime.device import Precision
from malgil.training.depth import freeze, rate_shares
from malgil.training.muon import Muon
from malgil.training.optimizers import Optimizers
from malgil.training.settings import TrainingSettings

SIZES: dict[str, Any] = {"n_layers": 3, "d_model": 12, "max_len": 9, "dropout": 0.0}


def bert() -> Any:
    return build_model("bert", FAMILIES["bert"].config(n_heads=2, pooler=True, **SIZES), 17)


def assembled(body: Any) -> Assembled:
    return Assembled(body, {"head": nn.Linear(12, 3)})


def place(name: str) -> str:
    """Where a parameter of `bert` stands, read off its name."""
    if name.startswith("parts."):
        return "heads"
    if "layers." in name:
        return name.split("layers.")[1].split(".")[0]
    below = ("embedding", "position_embedding", "type_embedding", "norm.")
    return "embeddings" if name.removeprefix("body.").startswith(below) else "top"


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_hold_every_parameter_once(name: str) -> None:
    family = FAMILIES[name]
    body = build_model(name, family.config(), 23)
    found = [id(p) for level in body.levels() for p in level]
    assert sorted(found) == sorted(id(p) for p in body.parameters())
    stem = {id(p) for p in body.levels()[0]}
    assert {id(m.weight) for m in body.modules() if isinstance(m, nn.Embedding)} <= stem
    layers = body.levels()[1:-1]
    config: Any = body.config  # type: ignore[attr-defined]
    n_layers = getattr(config, "n_layers", 0)
    encoder = getattr(config, "encoder_layers", n_layers if name == "seq2seq" else 0)
    assert len(layers) == (1 if name == "albert" else n_layers + encoder)
    assert all(layers)


def test_layers_of_a_recurrent_network_hold_both_directions() -> None:
    body = build_model("birnn", FAMILIES["birnn"].config(n_layers=2, d_model=6), 17)
    names = {p: name for name, p in body.named_parameters()}
    first, second = ({names[p] for p in level} for level in body.levels()[1:3])
    ends = [f"{kind}_{of}_l{{}}{way}" for kind in ("weight", "bias") for of in ("ih", "hh") for way in ("", "_reverse")]
    assert first == {f"recurrent.{end.format(0)}" for end in ends}
    assert second == {f"recurrent.{end.format(1)}" for end in ends}


@pytest.mark.parametrize(
    ("what", "frozen"),
    [
        (None, set()),
        ("embeddings", {"embeddings"}),
        ("0", {"embeddings"}),
        ("2", {"embeddings", "0", "1"}),
        ("3", {"embeddings", "0", "1", "2"}),
        ("body", {"embeddings", "0", "1", "2", "top"}),
    ],
)
def test_what_is_frozen(what: str | None, frozen: set[str]) -> None:
    whole = assembled(bert())
    freeze(whole, what)
    found = {name: p.requires_grad for name, p in whole.named_parameters()}
    assert found == {name: place(name) not in frozen for name in found}
    assert {place(name) for name in found} == {"embeddings", "0", "1", "2", "top", "heads"}
    optimizers = Optimizers(whole.body, whole.parts, TrainingSettings(optimizer="muon"), Precision("fp32"))
    assert set(optimizers.names.values()) == {name for name, trained in found.items() if trained}


def test_what_cannot_be_frozen_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the model has 3 layers to freeze, not 4; training.freeze; take fewer"):
        freeze(assembled(bert()), "4")
    with pytest.raises(ConfigError, match=r"nothing is left to train.*no head.*freeze body"):
        freeze(Assembled(bert(), {}), "body")
    for value in ("head", "-1", "1.5", "레이어"):
        with pytest.raises(InputError, match=f"training.freeze must be none, .* not '{value}'"):
            TrainingSettings(freeze=value)


# -- rates by depth ---------------------------------------------------------------------------------


def test_rates_fall_towards_the_embeddings() -> None:
    whole = assembled(bert())
    settings = TrainingSettings(layer_decay=0.5, learning_rate=0.8, weight_decay=0.3)
    optimizers = Optimizers(whole.body, whole.parts, settings, Precision("fp32"))
    expected = {"heads": 0.8, "top": 0.8, "2": 0.4, "1": 0.2, "0": 0.1, "embeddings": 0.05}
    assert optimizers.set_rate(0.5) == pytest.approx(0.4)  # the heads'
    for factor in (1.0, 0.25):
        assert optimizers.set_rate(factor) == pytest.approx(0.8 * factor)
        (adamw,) = optimizers.members
        groups = [(optimizers.names[p], group) for group in adamw.param_groups for p in group["params"]]
        assert len(groups) == len(list(whole.parameters()))
        for name, group in groups:
            assert group["lr"] == pytest.approx(factor * expected[place(name)])
            assert group["weight_decay"] == (0.3 if dict(whole.named_parameters())[name].dim() > 1 else 0.0)


def test_muon_has_its_own_rate_by_depth() -> None:
    whole = assembled(bert())
    settings = TrainingSettings(optimizer="muon", layer_decay=0.5, learning_rate=0.8, muon_learning_rate=0.016)
    adamw, muon = Optimizers(whole.body, whole.parts, settings, Precision("fp32")).members
    names = {p: name for name, p in whole.named_parameters()}
    assert isinstance(muon, Muon)
    rates = {place(names[p]): group["lr"] for group in muon.param_groups for p in group["params"]}
    assert rates == pytest.approx({"2": 0.008, "1": 0.004, "0": 0.002})
    rates = {place(names[p]): group["lr"] for group in adamw.param_groups for p in group["params"]}
    assert rates == pytest.approx({"heads": 0.8, "top": 0.8, "2": 0.4, "1": 0.2, "0": 0.1, "embeddings": 0.05})


def test_without_decay_there_are_two_groups() -> None:
    whole = assembled(bert())
    (adamw,) = Optimizers(whole.body, whole.parts, TrainingSettings(), Precision("fp32")).members
    assert [group["lr"] for group in adamw.param_groups] == [1e-3, 1e-3]


def test_an_encoder_stands_below_its_decoder() -> None:
    body = build_model("transformer", FAMILIES["transformer"].config(n_layers=2, d_model=12, n_heads=2), 17)
    shares = {name: rate_shares(body, 0.5)[p] for name, p in body.named_parameters()}
    assert shares["decoder.1.feed_forward.up.weight"] == 0.5
    assert shares["decoder.0.feed_forward.up.weight"] == 0.25
    assert shares["encoder.1.feed_forward.up.weight"] == 0.125
    assert shares["encoder.0.feed_forward.up.weight"] == 0.0625
    assert shares["embedding.weight"] == 0.03125


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_moves_each_layer_by_its_share(optimizer: str) -> None:
    settings: dict[str, Any] = {"optimizer": optimizer, "warmup": 0, "clip": None, "weight_decay": 0.0, "eps": 1e-30}
    plain, falling = trainer("gpt2", **settings), trainer("gpt2", layer_decay=0.25, **settings)
    before = weights(plain)
    for one in (plain, falling):
        one.step(one.batches(0))
    after, less = weights(plain), weights(falling)
    shares = {"embedding": 1 / 64, "position_embedding": 1 / 64, "layers.0": 1 / 16, "layers.1": 1 / 4, "norm": 1.0}
    for name in before:
        share = next(value for key, value in shares.items() if name.startswith(f"body.{key}"))
        torch.testing.assert_close(
            less[name] - before[name], share * (after[name] - before[name]), rtol=1e-3, atol=1e-6
        )


# -- frozen in training -----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"optimizer": "muon"}, {"ema": 0.9}, {"average": 2, "evaluate_every": 2}])
@pytest.mark.parametrize("name", MODELS)
def test_frozen_weights_keep_their_bits_and_the_others_move(name: str, settings: dict[str, Any]) -> None:
    one = trainer(name, freeze="1", dropout=0.1, **settings)
    before = {**weights(one)}
    below = {id(p) for level in one.assembled.body.levels()[:2] for p in level}
    one.run()
    moved = {n for n, p in one.assembled.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in one.assembled.named_parameters() if id(p) not in below}
    kept = one.weights()  # averages, where there are any
    assert equal({n: kept[n] for n in before if n not in moved}, {n: w for n, w in before.items() if n not in moved})


def test_the_gradient_of_what_is_trained_is_the_same() -> None:
    free, frozen = gradients(trainer("gpt2", clip=None)), gradients(trainer("gpt2", clip=None, freeze="1"))
    assert set(frozen) < set(free)
    assert equal(frozen, {name: free[name] for name in frozen})


@pytest.mark.parametrize("settings", [{"freeze": "1", "ema": 0.9}, {"layer_decay": 0.7}, {"freeze": "embeddings"}])
@pytest.mark.parametrize("name", ["gpt2", "lstm"])
def test_a_resumed_run_ends_with_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    def run(steps: int) -> Any:
        one = trainer(name, dropout=0.2, optimizer="muon", steps=6, **settings)
        one.limits = type(one.limits)(steps=6)
        for step in range(steps):
            one.step(one.batches(step))
            one.progress.step += 1
        return one

    whole, half = run(6), run(3)
    second = run(0)
    second.restore(half.snapshot({}))
    for step in range(3, 6):
        second.step(second.batches(step))
        second.progress.step += 1
    assert equal(weights(whole), weights(second))
    assert equal(whole.optimizers.state(), second.optimizers.state())
    assert equal(whole.weights(), second.weights())
