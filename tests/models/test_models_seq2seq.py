"""Recurrent encoder-decoders against plain PyTorch, against the papers' equations, and against a trained checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from g2p_checkpoint import g2p_expected, g2p_model
from torch import Tensor, nn

from malgil.errors import ConfigError
from malgil.models.seq2seq import Seq2Seq, Seq2SeqConfig

VOCAB, SOURCE_VOCAB, D, H = 23, 29, 11, 13


def build(**settings: Any) -> Seq2Seq:
    model = Seq2Seq(Seq2SeqConfig(**{"d_model": D, "d_hidden": H, "tied": False, **settings}), VOCAB, SOURCE_VOCAB)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


class PlainSeq2Seq(nn.Module):
    """Seq2Seq as one would write it down in PyTorch, with Luong's attention by dot products or without attention."""

    def __init__(self, cell: str, attends: bool) -> None:
        super().__init__()
        self.source_embedding, self.embedding = nn.Embedding(SOURCE_VOCAB, D), nn.Embedding(VOCAB, D)
        self.encoder = getattr(nn, cell.upper())(D, H, 2)
        self.decoder = getattr(nn, cell.upper())(D, H, 2)
        self.readout = nn.Linear(2 * H, H, bias=False) if attends else None
        self.head = nn.Linear(H, VOCAB)

    def forward(self, source: Tensor, tokens: Tensor) -> Tensor:
        memory, final = self.encoder(self.source_embedding(source.t()))
        hidden, _ = self.decoder(self.embedding(tokens.t()), final)
        hidden, memory = hidden.transpose(0, 1), memory.transpose(0, 1)
        if self.readout is not None:
            weights = torch.einsum("btd,bsd->bts", hidden, memory).softmax(-1)
            context = torch.einsum("bts,bsd->btd", weights, memory)
            hidden = torch.tanh(self.readout(torch.cat((context, hidden), -1)))
        logits: Tensor = self.head(hidden)
        return logits


@pytest.mark.parametrize("attention", ["none", "dot"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_equals_plain_torch(cell: str, attention: str) -> None:
    ours, theirs = build(cell=cell, attention=attention), PlainSeq2Seq(cell, attention == "dot")
    theirs.load_state_dict({name.replace("output_bias", "head.bias"): t for name, t in ours.state_dict().items()})
    source, tokens, targets = torch.randint(0, SOURCE_VOCAB, (3, 6)), *torch.randint(0, VOCAB, (2, 3, 9))
    hidden, logits = ours(tokens, memory=ours.encode(source)).hidden, theirs(source, tokens)
    assert logits.std() > 0.3
    torch.testing.assert_close(ours.logits(hidden), logits, atol=1e-5, rtol=1e-5)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    ours.nll(hidden.flatten(0, 1), targets.flatten()).sum().backward()
    for name, parameter in ours.named_parameters():
        expected = theirs.get_parameter(name.replace("output_bias", "head.bias")).grad
        torch.testing.assert_close(parameter.grad, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_bahdanau_equals_the_papers_equations() -> None:
    """Appendix A.2, token by token: alignment by s_t-1, context into the cell, maxout over state, context and token."""
    model = build(cell="gru", n_layers=1, attention="additive", wiring="bahdanau", bidirectional=True)
    source, tokens = torch.randint(0, SOURCE_VOCAB, (2, 5)), torch.randint(0, VOCAB, (2, 4))
    annotations, final = nn.GRU.forward(model.encoder, model.source_embedding(source))  # type: ignore[misc]
    s = torch.tanh(model.bridges[0](torch.cat((final[0], final[1]), -1)))  # type: ignore[index]
    cell = nn.GRUCell(D + 2 * H, H)
    cell.weight_ih.copy_(torch.cat((model.decoder.weight_ih_l0, model.feed.weight), 1))
    cell.weight_hh.copy_(model.decoder.weight_hh_l0)
    cell.bias_ih.copy_(model.decoder.bias_ih_l0)
    cell.bias_hh.copy_(model.decoder.bias_hh_l0)
    a = model.attention
    expected = []
    for y in model.embedding(tokens).unbind(1):
        energies = torch.tanh((s @ a.query.weight.T)[:, None] + annotations @ a.key.weight.T) @ a.v
        c = (energies.softmax(-1)[..., None] * annotations).sum(1)
        s = cell(torch.cat((y, c), -1), s)
        pairs = model.readout(torch.cat((s, c, y), -1)).view(2, 2, H)
        expected.append(pairs.amax(1))
    actual = model(tokens, memory=model.encode(source)).hidden
    torch.testing.assert_close(actual, torch.stack(expected, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_input_feeding_equals_the_papers_equations() -> None:
    """Luong et al., section 3.3: the attentional vector before stands beside the token in the first layer's input."""
    model = build(cell="lstm", n_layers=1, attention="general", input_feeding=True)
    source, tokens = torch.randint(0, SOURCE_VOCAB, (2, 5)), torch.randint(0, VOCAB, (2, 4))
    memory, final = model.encoder(model.source_embedding(source))
    state, fed = (final[0][0], final[1][0]), torch.zeros(2, H)
    cell = nn.LSTMCell(D + H, H)
    cell.weight_ih.copy_(torch.cat((model.decoder.weight_ih_l0, model.feed.weight), 1))
    cell.weight_hh.copy_(model.decoder.weight_hh_l0)
    cell.bias_ih.copy_(model.decoder.bias_ih_l0)
    cell.bias_hh.copy_(model.decoder.bias_hh_l0)
    expected = []
    for y in model.embedding(tokens).unbind(1):
        state = cell(torch.cat((y, fed), -1), state)
        weights = torch.einsum("bd,de,bse->bs", state[0], model.attention.key.weight, memory).softmax(-1)
        context = torch.einsum("bs,bsd->bd", weights, memory)
        fed = torch.tanh(model.readout(torch.cat((context, state[0]), -1)))
        expected.append(fed)
    actual = model(tokens, memory=model.encode(source)).hidden
    torch.testing.assert_close(actual, torch.stack(expected, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_reversed_source_is_read_from_its_last_real_token() -> None:
    model = build(reverse_source=True)
    rows = [torch.randint(0, SOURCE_VOCAB, (n,)) for n in (5, 2, 3)]
    source = torch.stack([F.pad(row, (0, 5 - len(row))) for row in rows])
    mask = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    memory = model.encode(source, source_mask=mask)
    for b, row in enumerate(rows):
        hidden, (h, c) = model.encoder(model.source_embedding(row.flip(0)[None]))
        for part, expected in zip(memory.final, (h, c), strict=True):
            torch.testing.assert_close(part[:, b], expected[:, 0])
        torch.testing.assert_close(memory.hidden[b, : len(row)], hidden[0].flip(0))  # each vector at its token's place


@torch.no_grad()
def test_without_attention_the_decoder_sees_the_final_state_alone() -> None:
    model = build()
    memory = model.encode(torch.randint(0, SOURCE_VOCAB, (2, 5)))
    tokens = torch.randint(0, VOCAB, (2, 4))
    blind = memory._replace(hidden=torch.full_like(memory.hidden, torch.nan))
    assert torch.equal(model(tokens, memory=blind).hidden, model(tokens, memory=memory).hidden)


@torch.no_grad()
def test_attention_can_be_watched_by_hooks() -> None:
    model = build(attention="additive", wiring="bahdanau", bidirectional=True)
    seen: list[Tensor] = []
    model.attention.register_forward_pre_hook(lambda module, inputs: seen.append(module.weights(*inputs)))
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    memory = model.encode(torch.randint(0, SOURCE_VOCAB, (2, 5)), source_mask=mask)
    model(torch.randint(0, VOCAB, (2, 4)), memory=memory)
    weights = torch.cat(seen, dim=1)
    assert weights.shape == (2, 4, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4))
    assert not weights[1, :, 2:].any()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_feeding": True}, "input_feeding"),
        ({"input_feeding": True, "attention": "dot", "wiring": "bahdanau"}, "input_feeding"),
        ({"attention": "dot", "bidirectional": True}, "dot"),
        ({"wiring": "bahdanau"}, "wiring bahdanau says where attention stands"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Seq2SeqConfig(**settings)


def test_one_embedding_needs_one_tokenizer() -> None:
    assert Seq2Seq(Seq2SeqConfig(d_model=D), VOCAB).source_embedding is None
    assert Seq2Seq(Seq2SeqConfig(d_model=D, shared=False), VOCAB).source_embedding is not None
    assert Seq2Seq(Seq2SeqConfig(d_model=D), VOCAB, SOURCE_VOCAB).source_embedding is not None
    with pytest.raises(ConfigError, match="tokenizer"):
        Seq2Seq(Seq2SeqConfig(shared=True, d_model=D), VOCAB, SOURCE_VOCAB)


# -- a trained model ----------------------------------------------------------------------------


@torch.no_grad()
def test_a_trained_checkpoint_says_what_it_said(data_dir: Path) -> None:
    """Letters to phonemes: the first step's logits, and every phoneme of a greedy reading of all words at once."""
    model, expected = g2p_model(data_dir), g2p_expected(data_dir)
    graphemes, phonemes = expected["graphemes"], expected["phonemes"]
    begin, end = phonemes.index("<s>"), phonemes.index("</s>")
    spelled = [torch.tensor([graphemes.index(letter) for letter in [*c["word"], "</s>"]]) for c in expected["cases"]]
    longest = max(map(len, spelled))
    source = torch.stack([F.pad(row, (0, longest - len(row))) for row in spelled])
    lengths = torch.tensor([[len(row)] for row in spelled])
    memory = model.encode(source, source_mask=torch.arange(longest) < lengths)
    state, tokens = model.init_state(memory, expected["max_decode"]), torch.full((len(spelled), 1), begin)
    steps = []
    for _ in range(expected["max_decode"]):
        hidden, state = model(tokens, state=state)
        steps.append(model.logits(hidden)[:, 0])
        tokens = steps[-1].argmax(-1, keepdim=True)
    first = torch.tensor([c["first_step_logits"] for c in expected["cases"]])
    torch.testing.assert_close(steps[0], first, atol=1e-3, rtol=0)
    for row, case in zip(torch.stack(steps, 1).argmax(-1).tolist(), expected["cases"], strict=True):
        said = row[: row.index(end)] if end in row else row
        assert [phonemes[i] for i in said] == case["phonemes"], case["word"]
