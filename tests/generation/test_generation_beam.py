"""Beam search against brute force, a plain reference and greedy choice; alone and in batches; in every family."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from generation_cases import CONTEXT, TRANSLATORS, VOCAB, ToyTranslator, memory_of, next_logprobs, tiny_translator
from torch import Tensor

from malgil.errors import ConfigError, InputError, NonFiniteError
from malgil.generation.beam import Hypothesis, beam_search, penalty
from malgil.generation.decode import generate
from malgil.generation.settings import GenerationSettings
from malgil.models import FAMILIES
from malgil.models.base import EncoderDecoder

SOURCES = [[5, 1, 8, 2, 2], [7], [3, 9, 4, 11, 6, 1, 20], [12, 12]]
BEGIN = END = 0
FAMILY_CASES = [case for case, (name, _) in TRANSLATORS.items() if name in FAMILIES]


def search(
    model: EncoderDecoder, sources: list[list[int]], begin: int = BEGIN, ends: tuple[int, ...] = (END,), **settings: Any
) -> list[list[Hypothesis]]:
    how = GenerationSettings(**{"max_tokens": 9, "temperature": 0.0, **settings})
    return beam_search(model, memory_of(model, sources), how, begin_id=begin, end_ids=ends)


def translator(case: str) -> EncoderDecoder:
    """Of a vocabulary so small that texts end."""
    return ToyTranslator(7) if case == "toy" else tiny_translator(case, 7)


def all_scored(
    model: EncoderDecoder, source: list[int], max_tokens: int, alpha: float
) -> list[tuple[float, list[int], str]]:
    """Every text that ends within max_tokens or has as many, the best first, by brute force."""
    found, begun = [], [([], 0.0)]
    for length in range(1, max_tokens + 1):
        grown = []
        for ids, logprob in begun:
            for token, gained in enumerate(next_logprobs(model, source, BEGIN, ids, (END,))):
                score = (logprob + gained) / ((5 + length) / 6) ** alpha
                if token == END:
                    found.append((score, ids, "end"))
                elif length == max_tokens:
                    found.append((score, [*ids, token], "length"))
                grown.append(([*ids, token], logprob + gained))
        begun = [b for b in grown if b[0][-1] != END]
    return sorted(found, key=lambda f: -f[0])


def plain_beam(
    model: EncoderDecoder,
    source: list[int],
    beam: int,
    max_tokens: int,
    alpha: float,
    begin: int = BEGIN,
    ends: tuple[int, ...] = (END,),
) -> list[list[int]]:
    """The search of one sentence with lists, without states, batches or back-pointers."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, max_tokens + 1):
        divisor = ((5 + length) / 6) ** alpha
        grown = [
            (logprob + gained, [*ids, token])
            for logprob, ids in live
            for token, gained in enumerate(next_logprobs(model, source, begin, ids, ends))
        ]
        grown.sort(key=lambda g: -g[0])
        finished += [(logprob / divisor, ids[:-1]) for logprob, ids in grown[:beam] if ids[-1] in ends]
        live = [g for g in grown if g[1][-1] not in ends][:beam]
        finished = sorted(finished, key=lambda f: -f[0])[:beam]
        if len(finished) == beam and finished[-1][0] >= live[0][0] / divisor:
            break
    else:
        finished += [(logprob / divisor, ids) for logprob, ids in live]
    return [ids for _, ids in sorted(finished, key=lambda f: -f[0])[:beam]]


@pytest.mark.parametrize("alpha", [0.0, 0.7, 2.0])
def test_a_beam_as_wide_as_the_space_finds_every_text_in_order(alpha: float) -> None:
    model = ToyTranslator(4, bias=[0.3, 0.0, 0.1, 0.2])
    made = search(model, SOURCES[:3], beam=108, n_best=108, max_tokens=4, length_penalty=alpha)
    for source, hypotheses in zip(SOURCES, made, strict=False):
        expected = all_scored(model, source, 4, alpha)[:108]
        assert [(h.ids, h.finish_reason) for h in hypotheses] == [(ids, reason) for _, ids, reason in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _, _ in expected], abs=1e-4)
    assert {h.finish_reason for h in made[0]} == {"end", "length"}


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("beam", [2, 3, 5])
@pytest.mark.parametrize("case", ["toy", *FAMILY_CASES])
def test_every_family_is_searched_as_by_lists_without_a_state(case: str, beam: int, alpha: float) -> None:
    model = translator(case)
    made = search(model, SOURCES, beam=beam, n_best=beam, max_tokens=6, length_penalty=alpha)
    expected = [plain_beam(model, source, beam, 6, alpha) for source in SOURCES]
    assert [[h.ids for h in hypotheses] for hypotheses in made] == expected
    assert len({tuple(map(tuple, e)) for e in expected}) > 1


@pytest.mark.parametrize("case", ["toy", *FAMILY_CASES])
def test_a_beam_of_one_is_greedy_choice(case: str) -> None:
    model = translator(case)
    settings = GenerationSettings(max_tokens=9, temperature=0)
    greedy = generate(model, [[BEGIN]] * 4, settings, memory=memory_of(model, SOURCES), end_ids=[END])
    made = search(model, SOURCES, beam=1)
    assert [(h.ids, h.finish_reason) for (h,) in made] == [(c.ids, c.finish_reason) for c in greedy]
    assert [h.logprob for (h,) in made] == pytest.approx([c.logprob for c in greedy], abs=1e-4)


@pytest.mark.parametrize("case", ["toy", *FAMILY_CASES])
def test_a_sentence_is_the_same_alone_and_in_any_batch(case: str) -> None:
    model = translator(case)
    together = search(model, SOURCES, beam=4, n_best=4)
    alone = [search(model, [source], beam=4, n_best=4)[0] for source in SOURCES]
    backwards = search(model, SOURCES[::-1], beam=4, n_best=4)[::-1]
    for one, two, three in zip(together, alone, backwards, strict=True):
        assert [h.ids for h in one] == [h.ids for h in two] == [h.ids for h in three]
        assert [h.score for h in one] == pytest.approx([h.score for h in two], abs=1e-4)


def test_a_wider_beam_scores_as_high_or_higher_here() -> None:
    model = ToyTranslator(VOCAB)
    best = [[h.score for (h,) in search(model, SOURCES, beam=beam, max_tokens=12)] for beam in (1, 64)]
    assert all(wide >= narrow - 1e-6 for narrow, wide in zip(*best, strict=True))
    assert best[0] != pytest.approx(best[1], abs=1e-3)


def test_scores_are_logprobs_over_the_penalty_and_logprobs_the_models_own() -> None:
    model = ToyTranslator(7, bias=[1.0] + [0.0] * 6)
    for hypothesis in search(model, SOURCES[:1], beam=5, n_best=5, length_penalty=0.6)[0]:
        ended = hypothesis.finish_reason == "end"
        target = hypothesis.ids + [END] * ended
        steps = [next_logprobs(model, SOURCES[0], BEGIN, target[:t], (END,))[token] for t, token in enumerate(target)]
        assert hypothesis.logprob == pytest.approx(sum(steps), abs=1e-4)
        assert hypothesis.score == pytest.approx(hypothesis.logprob / ((5 + len(target)) / 6) ** 0.6)


def test_a_length_penalty_favours_longer_texts() -> None:
    model = ToyTranslator(7)
    lengths = [
        sum(len(h.ids) for (h,) in search(model, SOURCES, beam=16, max_tokens=12, length_penalty=alpha))
        for alpha in (0.0, 1.0, 4.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_done_sentences_leave_the_batch_and_rows_of_a_sentence_are_as_many() -> None:
    model = ToyTranslator(7, bias=[2.5] + [0.0] * 6)
    search(model, SOURCES, beam=3, max_tokens=30)
    rows = model.rows_read
    assert rows[0] == 4
    assert rows[1] == 12
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert rows[-1] < 12
    assert all(n % 3 == 0 for n in rows[1:])
    assert len(rows) <= 30


def test_a_state_is_selected_once_a_step_and_only_where_the_order_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from malgil.layers.state import RecurrentState

    chosen: list[list[int]] = []
    select = RecurrentState.select
    monkeypatch.setattr(RecurrentState, "select", lambda s, rows: chosen.append(rows.tolist()) or select(s, rows))
    model = ToyTranslator(7, bias=[-9.0] + [0.0] * 6)
    search(model, SOURCES, beam=1)
    assert chosen == []
    search(model, SOURCES, beam=2)
    assert len(chosen) < 9
    assert all(rows != list(range(8)) for rows in chosen)


class Undecided(ToyTranslator):
    """Gives equal scores to all tokens."""

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.zeros(*hidden.shape[:-1], self.vocab_size)


@pytest.mark.parametrize("vocab_size", [6, 500])
def test_equal_scores_go_to_the_earlier_beam_and_the_lower_id(vocab_size: int) -> None:
    made = search(Undecided(vocab_size), SOURCES[:2], ends=(5,), beam=3, n_best=3, max_tokens=2)
    assert [[h.ids for h in hypotheses] for hypotheses in made] == [[[1, 1], [1, 2], [1, 3]]] * 2  # 0 begins


def test_several_tokens_may_end_a_text_and_begin_may_differ() -> None:
    model = ToyTranslator(9)
    made = search(model, SOURCES, begin=8, ends=(1, 2, 5, 700), beam=6, n_best=6)
    assert [[h.ids for h in hypotheses] for hypotheses in made] == [
        plain_beam(model, source, 6, 9, 1.0, begin=8, ends=(1, 2, 5)) for source in SOURCES
    ]
    assert "end" in {h.finish_reason for hypotheses in made for h in hypotheses}


def test_ids_beyond_the_tokenizer_are_never_written() -> None:
    model = ToyTranslator(9, bias=[0.0] * 6 + [50.0] * 3)
    settings = GenerationSettings(max_tokens=5, beam=4, n_best=4)
    memory = memory_of(model, SOURCES)
    made = beam_search(model, memory, settings, begin_id=0, end_ids=[0], vocab_size=6)
    assert max(i for hypotheses in made for h in hypotheses for i in h.ids) < 6
    assert all(math.isfinite(h.score) and h.logprob > -40 for hypotheses in made for h in hypotheses)


@pytest.mark.parametrize("beam", [1, 3])
def test_what_begins_a_target_follows_nothing_unless_it_ends_it(beam: int) -> None:
    """Marian begins with the padding, which its tokenizer cannot read."""
    model = ToyTranslator(9, bias=[0.0] * 8 + [50.0])
    memory = memory_of(model, SOURCES)
    settings = GenerationSettings(max_tokens=5, temperature=0.0, beam=beam, n_best=beam)
    made = [h for found in beam_search(model, memory, settings, begin_id=8, end_ids=[1]) for h in found]
    made += [h for found in beam_search(model, memory, settings, begin_id=2, end_ids=[1]) for h in found]
    assert [8 in h.ids for h in made] == [False] * 4 * beam + [True] * 4 * beam
    assert all(h.logprob > -40 for h in made[: 4 * beam])
    if beam == 1:
        greedy = generate(model, [[8]] * 4, settings, memory=memory, end_ids=[1])
        assert [c.ids for c in greedy] == [h.ids for h in made[:4]]
        assert [c.ids for c in generate(model, [[8]] * 4, settings, memory=memory, end_ids=[8])] == [[]] * 4


def test_the_context_bounds_what_is_written() -> None:
    model = ToyTranslator(7, bias=[-9.0] + [0.0] * 6, context=CONTEXT)
    made = search(model, SOURCES, beam=2, max_tokens=99)
    assert [(len(h.ids), h.finish_reason) for (h,) in made] == [(CONTEXT, "length")] * 4


@pytest.mark.parametrize("damage", [torch.nan, torch.inf, -torch.nan])
def test_damaged_weights_are_noticed(damage: float) -> None:
    model = ToyTranslator(200)
    model.bias[7] = damage
    with pytest.raises(NonFiniteError, match="token 1"):
        search(model, SOURCES, beam=3)


def test_forbidden_tokens_are_never_written() -> None:
    model = ToyTranslator(5, bias=[0.0, -torch.inf, 0.0, -torch.inf, 0.0])
    made = search(model, SOURCES, beam=9, n_best=9, max_tokens=3)
    assert not {1, 3} & {i for hypotheses in made for h in hypotheses for i in h.ids}
    assert len(made[0]) == 9


def test_a_small_space_gives_as_many_as_there_are() -> None:
    (made,) = search(ToyTranslator(2), SOURCES[:1], beam=8, n_best=8, max_tokens=2)
    assert sorted(h.ids for h in made) == [[], [1], [1, 1]]


def test_dropout_is_off_and_the_mode_stays() -> None:
    model = tiny_translator(FAMILY_CASES[0], dropout=0.5).train() if FAMILY_CASES else ToyTranslator(9).train()
    memory = memory_of(model.eval(), SOURCES)
    model.train()
    settings = GenerationSettings(max_tokens=5, beam=3)
    made = [beam_search(model, memory, settings, begin_id=0, end_ids=[0]) for _ in range(2)]
    assert made[0] == made[1]
    assert model.training


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"beam of 2 cannot find 3.*n_best.*beam to 3"):
        GenerationSettings(beam=2, n_best=3)
    with pytest.raises(ConfigError, match=r"no samples.*n_best"):
        GenerationSettings(beam=2, samples=3)
    with pytest.raises(InputError, match=r"begin_id 9.*0 to 8"):
        search(ToyTranslator(9), SOURCES, begin=9)


def test_the_penalty_is_equation_14() -> None:
    for length, alpha in itertools.product((1, 7, 30), (0.0, 0.6, 1.0)):
        assert penalty(length, alpha) == pytest.approx((5 + length) ** alpha / (5 + 1) ** alpha)
