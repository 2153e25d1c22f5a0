"""Heads of pretraining beside the one for hidden tokens: as Hugging Face's classes have them, in and out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from foreign import read_weights, write_weights
from test_interop_encoders import VOCAB, batch, every_case, inputs, vocabulary, written
from torch import Tensor

from malgil.errors import CheckpointError
from malgil.interop.heads import HEADS
from malgil.interop.huggingface import export_model, import_model
from malgil.models import build_model
from malgil.models.albert import AlbertConfig
from malgil.models.base import Encoder
from malgil.models.bert import BertConfig
from malgil.objectives.base import Assembled
from malgil.objectives.masked_lm import MaskedBatch, hidden_vectors
from malgil.objectives.replaced_tokens import DiscriminatorHead, Replaced, replaced_logits
from malgil.objectives.sentence_pairs import pair_logits, pair_nll
from malgil.objectives.texts import TextHead
from malgil.runs.exchange import export_run, import_run
from malgil.runs.run import Run

transformers: Any = pytest.importorskip("transformers")

of_pairs = pytest.mark.parametrize("case", ["bert", "bert-three-types", "albert", "albert-exact-gelu"])
of_tokens = pytest.mark.parametrize("case", ["electra", "electra-as-wide"])


def assembled(folder: Path, head: torch.nn.Module, name: str) -> Assembled:
    """An imported body with its head."""
    found = import_model(folder)
    assert not any("left out" in note for note in found.notes)
    model = Assembled(found.build(), {name: head})
    model.parts.load_state_dict(dict(found.heads))
    return model.eval()


def rows(tokens: Tensor, mask: Tensor, types: Tensor, labels: Tensor) -> MaskedBatch:
    """A row a pair, all of which are asked for."""
    begins = torch.arange(len(tokens)) * tokens.shape[1]
    nothing = torch.zeros(0, dtype=torch.long)
    return MaskedBatch(tokens, nothing, nothing, nothing, token_mask=mask, type_ids=types, begins=begins, labels=labels)


@of_pairs
def test_scores_losses_and_gradients_of_pairs(case: str, tmp_path: Path) -> None:
    theirs = written(tmp_path, case, "ForPreTraining")
    ours, (tokens, mask, types) = assembled(tmp_path, TextHead(15, 2, 0.0), "sentence"), batch()
    labels = torch.tensor([1, 0, 1])
    made = rows(tokens, mask, types, labels)
    hidden = hidden_vectors(ours.body, made)
    scores = pair_logits(ours, hidden, made)
    asked = inputs(theirs, tokens, mask, types)
    found = theirs(**asked)
    expected = found.sop_logits if case.startswith("albert") else found.seq_relationship_logits
    assert expected.std() > 0.01
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    logits = ours.body.logits(hidden.view(3, 9, -1))
    torch.testing.assert_close(logits[mask], found.prediction_logits[mask], atol=1e-5, rtol=1e-5)
    # their loss is the mean over pairs (and hidden tokens), ours the sum
    targets = torch.randint(0, VOCAB, (3, 9)).masked_fill(~mask, -100)
    named = "sentence_order_label" if case.startswith("albert") else "next_sentence_label"
    both = theirs(**asked, labels=targets, **{named: labels})
    masked = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(both.loss, pair_nll(scores, made) / 3 + masked)
    pair_nll(scores, made).backward()
    F.cross_entropy(expected, labels, reduction="sum").backward()
    layer = theirs.sop_classifier.classifier if case.startswith("albert") else theirs.cls.seq_relationship
    torch.testing.assert_close(ours.parts["sentence"].linear.weight.grad, layer.weight.grad, atol=1e-4, rtol=1e-4)
    pooler = theirs.albert.pooler if case.startswith("albert") else theirs.bert.pooler.dense
    torch.testing.assert_close(ours.body.pooler.weight.grad, pooler.weight.grad, atol=1e-4, rtol=1e-4)


@of_tokens
def test_scores_and_losses_of_replaced_tokens(case: str, tmp_path: Path) -> None:
    theirs = written(tmp_path, case, "ForPreTraining")
    tokens, mask, _ = batch()
    ours = assembled(tmp_path, DiscriminatorHead(15), "discriminator")
    made = MaskedBatch(tokens, torch.zeros(0), torch.zeros(0), mask.flatten().nonzero().squeeze(1), token_mask=mask)
    labels = torch.randint(0, 2, (3, 9))
    replaced = Replaced(tokens, labels[mask].bool())
    scores = replaced_logits(ours, replaced, made)
    asked = {"input_ids": tokens, "attention_mask": mask.long()}
    found = theirs(**asked, labels=labels)
    assert found.logits[mask].std() > 0.1
    torch.testing.assert_close(scores, found.logits[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(F.binary_cross_entropy_with_logits(scores, replaced.labels.float()), found.loss)


def test_the_generator_is_their_masked_language_model(tmp_path: Path) -> None:
    """Narrower than its embeddings, which it shares: see also `test_interop_encoders`."""
    config = BertConfig(n_layers=2, n_heads=1, d_model=5, d_embedding=7, d_ff=9, max_len=21)
    torch.manual_seed(1)
    done = export_model(build_model("bert", config, VOCAB), config, None, tmp_path / "out")
    assert any("transformers" in line and "logits equal" in line for line in done.verifications)


# -- out --------------------------------------------------------------------------------------------


def body_and_head(case: str) -> tuple[Encoder, Any, dict[str, Tensor]]:
    torch.manual_seed(2)
    sizes: dict[str, Any] = {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 21}
    config: Any = {
        "bert": BertConfig(**sizes, pooler=True),
        "albert": AlbertConfig(**sizes, d_embedding=7, pooler=True),
        "electra": BertConfig(**sizes, d_embedding=7),
        "electra-as-wide": BertConfig(**sizes),
    }[case]
    model = build_model("albert" if case == "albert" else "bert", config, VOCAB)
    parts = torch.nn.ModuleDict({"sentence": TextHead(15, 2, 0.0)})
    if case.startswith("electra"):
        parts = torch.nn.ModuleDict({"discriminator": DiscriminatorHead(15), "generator": torch.nn.Linear(2, 2)})
    with torch.no_grad():
        for parameter in [*model.parameters(), *parts.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    assert isinstance(model, Encoder)
    return model, config, parts.state_dict()


@pytest.mark.parametrize("case", ["bert", "albert", "electra", "electra-as-wide"])
@torch.no_grad()
def test_exports_have_the_class_with_the_head(case: str, tmp_path: Path) -> None:
    model, config, heads = body_and_head(case)
    done = export_model(model, config, None, tmp_path / "out", heads=heads)
    head = HEADS[case.split("-")[0]]
    checked = [line for line in done.verifications if line.startswith("transformers") and "equal" in line]
    assert len(checked) == (2 if head.masked else 1)
    assert any(head.output in line for line in checked)
    theirs = transformers.AutoModelForPreTraining.from_pretrained(str(tmp_path / "out"), local_files_only=True).eval()
    assert type(theirs).__name__ == head.architecture
    again = import_model(tmp_path / "out")
    assert dict(again.objective) == head.objective
    assert set(again.heads) == {name for name in heads if not name.startswith("generator")}
    assert all(torch.equal(again.heads[name], heads[name]) for name in again.heads)
    assert not done.notes


@torch.no_grad()
def test_heads_without_a_class_stay_behind_and_it_is_said(tmp_path: Path) -> None:
    model, config, heads = body_and_head("bert")
    other = {f"label.{name}": tensor for name, tensor in heads.items()}
    done = export_model(model, config, None, tmp_path / "labels", heads=other)
    assert not import_model(tmp_path / "labels").heads
    assert done.notes == ("left behind, without a class in this format: label",)
    albert, settings, _ = body_and_head("albert")
    found = {f"discriminator.{name}": tensor for name, tensor in DiscriminatorHead(15).state_dict().items()}
    done = export_model(albert, settings, None, tmp_path / "albert", heads=found)
    assert done.notes[0].endswith("discriminator; its layer for hidden tokens was never trained")
    flat = replace(config, pooler=False)  # their class has a pooler below the head
    torch.manual_seed(0)
    export_model(build_model("bert", flat, VOCAB), flat, None, tmp_path / "flat", heads=heads)
    assert not import_model(tmp_path / "flat").heads


def test_a_head_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "bert", "ForPreTraining")
    weights = read_weights(tmp_path)
    write_weights(tmp_path, {**weights, "cls.seq_relationship.weight": torch.zeros(3, 15)})
    with pytest.raises(CheckpointError, match=r"cls.seq_relationship.weight \(3, 15\), expected \(2, 15\)"):
        import_model(tmp_path)
    del weights["cls.seq_relationship.bias"]
    write_weights(tmp_path, weights)
    found = import_model(tmp_path)
    assert not found.heads
    assert any("left out" in note and "cls.seq_relationship.weight" in note for note in found.notes)


@every_case
def test_without_a_head_there_is_none(case: str, tmp_path: Path) -> None:
    written(tmp_path, case)
    found = import_model(tmp_path)
    assert not found.heads
    assert not found.objective


# -- runs -------------------------------------------------------------------------------------------


def test_an_imported_run_keeps_the_question_about_pairs(tmp_path: Path) -> None:
    written(tmp_path, "bert", "ForPreTraining")
    vocabulary(tmp_path, do_lower_case=False)
    import_run(tmp_path, tmp_path / "run")
    run = Run(tmp_path / "run", device="cpu", threads=1)
    assert run.settings.objective.also == "next_sentence"
    text = tmp_path / "글.txt"
    text.write_text("말길은 the ways. 길은 a way.\n말 way the. the 말길.\n" * 9, encoding="utf-8")
    score = run.evaluate(text)
    assert score["pairs"] > 8
    assert 0 <= score["sentence_accuracy"] <= 1
    export_run(tmp_path / "run", tmp_path / "out")
    weights, back = read_weights(tmp_path), read_weights(tmp_path / "out")
    assert all(torch.equal(weights[name], back[name]) for name in back)
    assert "cls.seq_relationship.weight" in back


def test_an_imported_discriminator_is_a_body(tmp_path: Path) -> None:
    written(tmp_path, "electra", "ForPreTraining")
    vocabulary(tmp_path, do_lower_case=False)
    assert "the head is left out" in import_run(tmp_path, tmp_path / "run")
    run = Run(tmp_path / "run", device="cpu", threads=1)
    assert run.settings.objective.name == "masked_lm"
    assert not list(run.assembled.parts)
