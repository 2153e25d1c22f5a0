"""Embeddings of runs of tokens, against a table of the runs themselves."""

from __future__ import annotations

import pytest
import torch

from malgil.layers.ngrams import NGramEmbedding, n_gram_embedding

TEXT = "말길이 좋다 말길이 멀다"
LONGEST, BUCKETS, WIDTH = 4, 100_003, 6


def _tokens(text: str = TEXT) -> torch.Tensor:
    return torch.tensor([ord(letter) for letter in text])


def _embedding(p: float = 0.0, buckets: int = BUCKETS) -> NGramEmbedding:
    torch.manual_seed(3)
    return NGramEmbedding(LONGEST, buckets, WIDTH, p)


def _runs(text: str, place: int) -> list[str]:
    """The runs of 2 to LONGEST characters that end at a place; what stands before the text is a dot."""
    before = "." * LONGEST + text
    end = place + LONGEST + 1
    return [before[end - length : end] for length in range(2, LONGEST + 1)]


def test_equal_runs_share_a_row_and_others_do_not() -> None:
    rows = _embedding().rows(_tokens(), torch.arange(len(TEXT)))
    assert rows.shape == (len(TEXT), LONGEST - 1)
    known: dict[str, int] = {}
    for place in range(len(TEXT)):
        for run, row in zip(_runs(TEXT, place), rows[place].tolist(), strict=True):
            assert known.setdefault(run, row) == row
    assert len(set(known.values())) == len(known), "with so many rows none of these runs meet"


def test_a_token_has_the_sum_of_its_runs() -> None:
    embedding = _embedding()
    rows = embedding.rows(_tokens(), torch.arange(len(TEXT)))
    found = embedding(_tokens(), torch.arange(len(TEXT)))
    for place in range(len(TEXT)):
        total = sum(embedding.table.weight[row] for row in rows[place])
        torch.testing.assert_close(found[place], embedding.up.weight @ total)


def test_no_run_reaches_into_another_document() -> None:
    embedding, first, second = _embedding(), _tokens("말길"), _tokens("좋은 글")
    both = embedding(torch.cat([first, second]), torch.cat([torch.arange(2), torch.arange(4)]))
    alone = [embedding(text, torch.arange(len(text))) for text in (first, second)]
    torch.testing.assert_close(both, torch.cat(alone))


def test_rows_of_a_batch_are_read_one_by_one() -> None:
    embedding, batch = _embedding(), torch.stack([_tokens(TEXT), _tokens(TEXT[::-1])])
    found = embedding(batch, torch.arange(len(TEXT)))
    assert found.shape == (2, len(TEXT), WIDTH)
    torch.testing.assert_close(found[1], embedding(batch[1], torch.arange(len(TEXT))))


def test_few_rows_hold_every_run() -> None:
    rows = _embedding(buckets=3).rows(_tokens(), torch.arange(len(TEXT)))
    assert 0 <= int(rows.min()) <= int(rows.max()) < 3


def test_dropout_leaves_out_whole_runs_in_training_alone() -> None:
    embedding = _embedding(p=0.5)
    places = torch.arange(len(TEXT))
    assert torch.equal(embedding.eval()(_tokens(), places), embedding(_tokens(), places))
    torch.manual_seed(1)
    embedding.train()(_tokens(), places).sum().backward()
    assert embedding.table.weight.grad is not None
    reached = {int(row) for row in embedding.table.weight.grad.abs().sum(1).nonzero()}
    every = {int(row) for row in embedding.rows(_tokens(), places).flatten()}
    assert 0 < len(reached) < len(every)
    assert reached < every


@pytest.mark.parametrize("longest", [1, 2])
def test_runs_of_one_token_need_no_table(longest: int) -> None:
    assert (n_gram_embedding(longest, 10, WIDTH, 0.0) is None) == (longest == 1)
