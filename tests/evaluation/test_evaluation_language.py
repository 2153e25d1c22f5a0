"""Language evaluation against loops that a person can check: every token once, bits by hand, states carried on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from malgil.data.corpus import open_whole
from malgil.data.lanes import Lanes
from malgil.data.settings import DataSettings
from malgil.data.store import TokenStore, token_store
from malgil.errors import DataError
from malgil.evaluation import language
from malgil.evaluation.language import LanguageEvaluator
from malgil.models import build_model, family
from malgil.models.base import CausalLM
from malgil.objectives.base import Specials
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

LENGTH = 7
DOCUMENTS = ["말길은 말이 가는 길이다.", "산은 높고 물은 흐른다. The river carries light.", "새벽"]
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": LENGTH}),
    "llama": ("llama", {"n_layers": 2, "n_heads": 2, "d_model": 12, "max_len": LENGTH}),
    "gru": ("rnn_lm", {"cell": "gru", "n_layers": 2, "d_model": 11, "max_len": LENGTH}),
    "lstm": ("rnn_lm", {"cell": "lstm", "n_layers": 2, "d_model": 11, "max_len": LENGTH}),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(DOCUMENTS, TokenizerSettings(kind="char"))


def stored(folder: Path, tokenizer: Tokenizer, documents: list[str] = DOCUMENTS) -> TokenStore:
    paths = []
    for number, text in enumerate(documents):
        path = folder / f"{number}.txt"
        path.write_text(text, encoding="utf-8")
        paths.append(str(path))
    part, _ = open_whole(DataSettings(paths=paths))
    return token_store(part, tokenizer)


def model(name: str, vocab_size: int) -> CausalLM:
    family_name, settings = SMALL[name]
    torch.manual_seed(5)
    built = build_model(family_name, family(family_name).config(**settings, dropout=0.5), vocab_size)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    assert isinstance(built, CausalLM)
    return built.train()


def evaluator(store: TokenStore, *, respect: bool = True, length: int = LENGTH) -> LanguageEvaluator:
    return LanguageEvaluator(store, Specials(0, 0), length, respect, Precision("fp32"))


def by_hand(model: CausalLM, store: TokenStore, respect: bool) -> list[float]:
    """-ln p of every token but the first, one at a time, from what its window and its document let it see."""
    tokens, starts = store.tokens.astype(int).tolist(), set(store.starts.tolist())
    losses = []
    model.eval()
    for place in range(1, len(tokens)):
        first = (place - 1) // LENGTH * LENGTH
        if respect and model.context is not None:
            first = max([first, *(s for s in starts if first < s < place)])
        with torch.no_grad():
            hidden = model(torch.tensor([tokens[first:place]])).hidden[0, -1]
            losses.append(-model.logits(hidden).log_softmax(-1)[tokens[place]].item())
    return losses


@pytest.mark.parametrize("respect", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_every_token_but_the_first_is_scored_once(
    name: str, respect: bool, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    store = stored(tmp_path, tokenizer)
    assert (len(store) - 1) % LENGTH  # the last window is short
    one = model(name, tokenizer.vocab_size)
    score = evaluator(store, respect=respect)(one)
    assert one.training  # as it was
    losses = by_hand(one, store, respect)
    assert score.tokens == len(store) - 1 == len(losses)
    assert score.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(score.loss))


def test_bits_per_byte_count_the_bytes_of_the_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = stored(tmp_path, tokenizer)
    one = model("gpt2", tokenizer.vocab_size)
    score = evaluator(store)(one)
    n_bytes = sum(len(text.encode("utf-8")) for text in DOCUMENTS)
    assert n_bytes > 1.5 * sum(map(len, DOCUMENTS))  # three bytes a syllable
    assert score.bytes == n_bytes
    assert score.bits_per_byte == pytest.approx(sum(by_hand(one, store, True)) / math.log(2) / n_bytes, rel=1e-5)


def test_a_model_that_knows_nothing_needs_log2_of_the_vocabulary(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = stored(tmp_path, tokenizer)
    one = model("gpt2", tokenizer.vocab_size)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    score = evaluator(store)(one)
    assert score.perplexity == pytest.approx(tokenizer.vocab_size, rel=1e-5)
    assert score.bits_per_byte == pytest.approx(score.tokens * math.log2(tokenizer.vocab_size) / score.bytes, rel=1e-5)


def test_unknown_characters_make_bits_per_byte_incomparable(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = stored(tmp_path, tokenizer, ["말길 龍", "물"])
    score = evaluator(store)(model("gpt2", tokenizer.vocab_size))
    assert store.n_unknown == 1
    assert score.bits_per_byte is None
    assert score.not_comparable is not None
    assert "not comparable" in score.not_comparable
    assert math.isfinite(score.loss)


@pytest.mark.parametrize("name", SMALL)
def test_the_size_of_batches_changes_nothing(
    name: str, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(tmp_path, tokenizer)
    one = model(name, tokenizer.vocab_size)
    losses = []
    for tokens_per_batch in (1, 3 * LENGTH, 10_000):
        monkeypatch.setitem(language.TOKENS_PER_BATCH, "cpu", tokens_per_batch)
        losses.append(evaluator(store)(one).loss)
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_carried_figure_reads_ten_streams(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = stored(tmp_path, tokenizer, [" ".join(DOCUMENTS * 6)])
    one = model(name, tokenizer.vocab_size)
    found = evaluator(store).carried(one)
    lanes = Lanes(store, 10, LENGTH, seed=0)
    assert lanes.columns > 2
    one.eval()
    losses = []
    for lane in range(10):  # a lane in one go is the authority
        pieces = [lanes.window(0, lane, column)[0] for column in range(lanes.columns)]
        tokens = torch.tensor([t for piece in pieces for t in piece[:-1].tolist()] + [int(pieces[-1][-1])])
        with torch.no_grad():
            hidden = one(tokens[None, :-1]).hidden[0]
            losses.append(torch.nn.functional.cross_entropy(one.logits(hidden), tokens[1:]).item())
    assert found == pytest.approx(sum(losses) / 10, rel=1e-5)
    assert found != pytest.approx(evaluator(store)(one).loss, rel=1e-4)


def test_there_is_no_carried_figure_with_a_fixed_context_or_too_little_text(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    store = stored(tmp_path, tokenizer)
    assert evaluator(store).carried(model("gpt2", tokenizer.vocab_size)) is None
    assert evaluator(store, length=len(store)).carried(model("lstm", tokenizer.vocab_size)) is None
    assert evaluator(store, length=len(store) - 1).carried(model("lstm", tokenizer.vocab_size)) is not None


def test_a_check_may_stop_it_and_the_model_trains_on(tokenizer: Tokenizer, tmp_path: Path) -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    store = stored(tmp_path, tokenizer)
    one = model("gpt2", tokenizer.vocab_size)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(language.TOKENS_PER_BATCH, "cpu", 1)
        with pytest.raises(KeyboardInterrupt):
            evaluator(store)(one, check)
    assert one.training


def test_evaluation_draws_no_random_numbers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = stored(tmp_path, tokenizer)
    one = model("lstm", tokenizer.vocab_size)
    before = torch.get_rng_state()
    first, carried = evaluator(store)(one), evaluator(store).carried(one)
    assert torch.equal(torch.get_rng_state(), before)
    assert (evaluator(store)(one), evaluator(store).carried(one)) == (first, carried)


def test_the_smallest_text_has_one_token_to_score(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = stored(tmp_path, tokenizer, ["길"])
    assert evaluator(store)(model("gpt2", tokenizer.vocab_size)).tokens == len(store) - 1
    with pytest.raises(DataError):
        stored(tmp_path, tokenizer, [""])
