"""The loop over real models: equal to decoding without a state, alone and in a batch, within and beyond the context."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from generation_cases import (
    ATTENTION,
    CONTEXT,
    TRANSLATORS,
    VOCAB,
    WIRINGS,
    Reciter,
    ToyTranslator,
    greedy_without_state,
    memory_of,
    next_logprobs,
    tiny,
    tiny_translator,
)
from torch import Tensor

from malgil.errors import ConfigError, ContextLengthError, InputError, NonFiniteError
from malgil.generation.decode import Decoder, generate
from malgil.generation.settings import GenerationSettings
from malgil.models import FAMILIES
from malgil.models.base import CausalLM

SOURCES = [[5, 1, 8, 2, 2], [7], [3, 9, 4, 11, 6, 1, 20]]
FAMILY_CASES = [case for case, (name, _) in TRANSLATORS.items() if name in FAMILIES]
PROMPTS = [[5, 1, 8, 2, 2], [7], [3, 9, 4, 11, 6, 1, 0]]
GREEDY = GenerationSettings(max_tokens=6, temperature=0)


def ids(
    model: CausalLM, prompts: list[list[int]], settings: GenerationSettings, end: int | None = None
) -> list[list[int]]:
    return [c.ids for c in generate(model, prompts, settings, end_ids=[] if end is None else [end])]


@pytest.mark.parametrize("case", WIRINGS)
def test_greedy_equals_decoding_without_a_state(case: str) -> None:
    model = tiny(case)
    expected = [greedy_without_state(model, prompt, 6) for prompt in PROMPTS]
    assert ids(model, PROMPTS, GREEDY) == expected
    assert len({tuple(e) for e in expected}) > 1


@pytest.mark.parametrize("case", WIRINGS)
@pytest.mark.parametrize("n_tokens", [9, 40])
def test_a_row_is_the_same_alone_and_in_any_batch(case: str, n_tokens: int) -> None:
    model = tiny(case)
    settings = GenerationSettings(
        max_tokens=n_tokens,
        temperature=1.3,
        top_k=17,
        top_p=0.95,
        min_p=0.01,
        repetition_penalty=1.1,
        seed=5,
        samples=3,
    )
    together = ids(model, PROMPTS, settings, end=4)
    alone = [row for prompt in PROMPTS for row in ids(model, [prompt], settings, end=4)]
    assert together == alone
    assert ids(model, PROMPTS[::-1], settings, end=4)[6:] == together[:3]


@pytest.mark.parametrize("case", WIRINGS)
def test_a_sample_does_not_depend_on_how_many_there_are(case: str) -> None:
    model = tiny(case)
    two, five = (GenerationSettings(max_tokens=8, temperature=1.0, seed=1, samples=n) for n in (2, 5))
    assert ids(model, PROMPTS[:1], two) == ids(model, PROMPTS[:1], five)[:2]


def test_seeds_repeat_and_differ_and_samples_differ() -> None:
    model = tiny("gpt2")
    rows = {seed: ids(model, PROMPTS, GenerationSettings(temperature=1, seed=seed, samples=2)) for seed in (0, 1)}
    assert rows[0] == ids(model, PROMPTS, GenerationSettings(temperature=1, seed=0, samples=2))
    assert len({tuple(row) for seed in rows for row in rows[seed]}) == 12


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-30}])
@pytest.mark.parametrize("case", WIRINGS)
def test_the_narrowest_choice_is_greedy(case: str, settings: dict[str, float]) -> None:
    model = tiny(case)
    narrow = GenerationSettings(**{"max_tokens": 6, "temperature": 1.0, **settings})  # type: ignore[arg-type]
    assert ids(model, PROMPTS, narrow) == ids(model, PROMPTS, GREEDY)


@pytest.mark.parametrize("context", [1, 2, 3, 5, CONTEXT])
@pytest.mark.parametrize("case", ATTENTION)
def test_writing_goes_on_beyond_the_context(case: str, context: int) -> None:
    """A small context must still give long texts; rows of a batch reach it at different steps."""
    model = tiny(case, max_len=context)
    prompts = [prompt[:context] for prompt in PROMPTS]
    expected = [greedy_without_state(model, prompt, 3 * context + 4) for prompt in prompts]
    settings = GenerationSettings(max_tokens=3 * context + 4, temperature=0)
    assert ids(model, prompts, settings) == expected


@pytest.mark.parametrize("case", ATTENTION)
def test_samples_go_on_beyond_a_context_of_any_size(case: str) -> None:
    """Copies of a row have caches of a round size, which a context of 21 is not."""
    model = tiny(case, max_len=21)
    settings = GenerationSettings(max_tokens=60, temperature=1.0, samples=2)
    together = ids(model, PROMPTS, settings, end=4)
    first = GenerationSettings(max_tokens=60, temperature=1.0)
    assert together[::2] == [row for prompt in PROMPTS for row in ids(model, [prompt], first, end=4)]
    assert max(map(len, together)) > 21


@pytest.mark.parametrize("case", ATTENTION)
def test_a_prompt_may_fill_the_context_but_not_exceed_it(case: str) -> None:
    model = tiny(case)
    prompt = [i % VOCAB for i in range(CONTEXT)]
    assert ids(model, [prompt], GREEDY) == [greedy_without_state(model, prompt, 6)]
    with pytest.raises(ContextLengthError, match=rf"{CONTEXT + 2} tokens.*{CONTEXT}.*prompt 1.*by 2 tokens"):
        generate(model, [[1], [*prompt, 1, 2]], GREEDY)


def test_a_recurrent_model_has_no_limit() -> None:
    model = tiny("lstm", max_len=3)
    prompt = [i % VOCAB for i in range(50)]
    settings = GenerationSettings(max_tokens=30, temperature=0)
    assert ids(model, [prompt], settings) == [greedy_without_state(model, prompt, 30)]


def test_finished_rows_leave_the_batch() -> None:
    model = Reciter({4: [5, 6, 0, 7, 7], 2: [0], 3: [8, 8, 8, 8, 8]}, vocab_size=9)
    made = generate(model, [[1, 4], [2], [3]], GenerationSettings(max_tokens=4, temperature=0), end_ids=[0])
    assert [(c.ids, c.finish_reason) for c in made] == [([5, 6], "end"), ([], "end"), ([8, 8, 8, 8], "length")]
    assert model.rows_read == [3, 2, 2, 1]


def test_prompts_are_read_once_for_all_samples() -> None:
    model = Reciter({1: [5, 6], 2: [7, 8]}, vocab_size=9)
    made = generate(model, [[1], [2]], GenerationSettings(max_tokens=2, samples=3))
    assert [c.ids for c in made] == [[5, 6]] * 3 + [[7, 8]] * 3
    assert model.rows_read == [2, 6]


@pytest.mark.parametrize("case", ["gru", "llama"])
def test_logprob_is_the_models_own(case: str) -> None:
    model = tiny(case)
    settings = GenerationSettings(max_tokens=5, temperature=2.0, top_k=9, repetition_penalty=1.5)
    (made,) = generate(model, PROMPTS[:1], settings)
    text = torch.tensor([PROMPTS[0] + made.ids])
    nll = model.nll(model(text[:, :-1]).hidden[0, 4:], text[0, 5:])
    assert made.logprob == pytest.approx(-float(nll.detach().sum()), rel=1e-4)


@pytest.mark.parametrize("case", WIRINGS)
def test_bf16_works_on_a_copy(case: str) -> None:
    model = tiny(case)
    before = [p.clone() for p in model.parameters()]
    made = generate(model, PROMPTS, replace(GREEDY, precision="bf16"))
    exact = generate(model, PROMPTS, GREEDY)
    assert [len(c.ids) for c in made] == [6, 6, 6]
    assert sum(a.ids[0] == b.ids[0] for a, b in zip(made, exact, strict=True)) >= 2
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_global_generator_stay(training: bool) -> None:
    model = tiny("gpt2", dropout=0.5).train(training)
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    written = ids(model, PROMPTS, GREEDY)
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in model.modules()] == modes
    assert written == ids(model.eval(), PROMPTS, GREEDY)


def test_training_goes_on_after_a_preview() -> None:
    model = tiny("llama").train()
    generate(model, PROMPTS, GREEDY)
    model(torch.tensor(PROMPTS[:1])).hidden.sum().backward()
    assert all(p.grad is not None for p in model.layers.parameters())


def test_repetition_penalty_leads_away_from_what_was_written() -> None:
    model = tiny("gpt2")
    prompt = [1, 2, 3]
    (made,) = generate(model, [prompt], GenerationSettings(max_tokens=11, temperature=0, repetition_penalty=1e6))
    assert len({*prompt, *made.ids}) == 14


def test_an_end_token_in_the_prompt_is_not_penalised() -> None:
    model = Reciter({3: [5, 0]}, vocab_size=9)
    settings = GenerationSettings(max_tokens=9, temperature=0, repetition_penalty=1e6)
    (made,) = generate(model, [[0, 3]], settings, end_ids=[0])
    assert (made.ids, made.finish_reason) == ([5], "end")


def test_what_cannot_be_continued_is_refused() -> None:
    model = tiny("gru")
    with pytest.raises(InputError, match=r"no tokens; prompt 1; .*begin_id"):
        generate(model, [[1], []], GREEDY)
    with pytest.raises(InputError, match=r"3 to 29; prompt 0; .*0 to 28"):
        generate(model, [[3, VOCAB]], GREEDY)
    with pytest.raises(ConfigError, match="tokenizer"):
        generate(model, [[3]], GenerationSettings(stop=["끝"]))
    assert generate(model, [], GenerationSettings()) == []


def test_damaged_weights_are_noticed() -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        model.embedding.weight[7, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="token 1"):
        generate(model, [[7]], GREEDY)


def test_the_cache_is_no_larger_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("gpt2")
    sizes: list[tuple[int, int]] = []
    init_state = model.init_state
    monkeypatch.setattr(model, "init_state", lambda b, n: sizes.append((b, n)) or init_state(b, n))
    generate(model, PROMPTS, GenerationSettings(max_tokens=3))
    generate(model, PROMPTS, GenerationSettings(max_tokens=8))
    assert sizes == [(3, 9), (3, CONTEXT)]


def test_steps_can_be_ended_from_outside() -> None:
    decoder = Decoder(tiny("lstm"), PROMPTS, GenerationSettings(max_tokens=9, temperature=0))
    decoder.step()
    decoder.finish(1, "stop")
    assert [token.row for token in decoder.step()] == [0, 2]
    assert [len(c.ids) for c in decoder.continuations()] == [2, 1, 2]
    assert decoder.continuations()[1].finish_reason == "stop"


def test_greedy_takes_the_lowest_of_equal_ids() -> None:
    class Undecided(Reciter):
        def logits(self, hidden: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0, 3.0, 3.0, -1.0, 3.0]]).repeat(len(hidden), 1)

    made = generate(Undecided({}, vocab_size=6), [[1], [0, 1]], GenerationSettings(max_tokens=2, temperature=0))
    assert [c.ids for c in made] == [[2, 2], [2, 2]]


@pytest.mark.parametrize("case", FAMILY_CASES)
def test_with_a_source_greedy_equals_decoding_without_a_state(case: str) -> None:
    model = tiny_translator(case)
    made = generate(model, [[3]] * 3, GREEDY, memory=memory_of(model, SOURCES))
    for source, continuation in zip(SOURCES, made, strict=True):
        for t, token in enumerate(continuation.ids):
            scores = next_logprobs(model, source, 3, continuation.ids[:t])
            assert scores[token] == pytest.approx(max(scores), abs=1e-4)
    assert len({tuple(c.ids) for c in made}) > 1


@pytest.mark.parametrize("case", FAMILY_CASES)
def test_samples_share_a_source_and_are_the_same_in_any_batch(case: str) -> None:
    model = tiny_translator(case)
    settings = GenerationSettings(max_tokens=7, temperature=1.2, top_k=11, seed=2, samples=3)
    together = generate(model, [[3]] * 3, settings, memory=memory_of(model, SOURCES), end_ids=[4])
    alone = [c for s in SOURCES for c in generate(model, [[3]], settings, memory=memory_of(model, [s]), end_ids=[4])]
    assert [c.ids for c in together] == [c.ids for c in alone]
    assert len({tuple(c.ids) for c in together}) > 3


def test_with_a_source_the_context_bounds_what_is_written() -> None:
    model = ToyTranslator(VOCAB, context=5)
    settings = GenerationSettings(max_tokens=40, temperature=0)
    made = generate(model, [[1], [1, 2, 3]], settings, memory=memory_of(model, SOURCES[:2]))
    assert [(len(c.ids), c.finish_reason) for c in made] == [(5, "length"), (3, "length")]


def test_memory_and_model_must_fit() -> None:
    translator = ToyTranslator(VOCAB)
    memory = memory_of(translator, SOURCES)
    with pytest.raises(InputError, match=r"no encoded source.*ToyTranslator.*encode"):
        generate(translator, [[1]], GREEDY)
    with pytest.raises(InputError, match=r"reads no source.*leave memory out"):
        generate(tiny("gru"), [[1]] * 3, GREEDY, memory=memory)
    with pytest.raises(InputError, match="3 sources and 1 prompts"):
        generate(translator, [[1]], GREEDY, memory=memory)
    with pytest.raises(ConfigError, match=r"beam of 4.*generation\.beam"):
        generate(tiny("gru"), [[1]], GenerationSettings(beam=4))
