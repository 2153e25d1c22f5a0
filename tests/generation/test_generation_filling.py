"""Words that are hidden and guessed: what is shown is what stood there and what the model holds the likeliest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from malgil.generation.filling import doubt_words, fill_words
from malgil.models.base import Encoder, Output
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer
from malgil.text.words import Vocabulary

TEXT = "산은 높고 물은 흐른다, 새벽 강에 빛이 내리고 (그리고) 낱말이 길을 따라 간다."


class Says(Encoder):
    """Guesses the same token wherever the mask stands."""

    def __init__(self, tokenizer: Tokenizer, word: str) -> None:
        super().__init__()
        self.vocab_size = self.d_model = tokenizer.vocab_size
        self.context = None
        self.embedding = nn.Embedding(tokenizer.vocab_size, tokenizer.vocab_size)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.eye(tokenizer.vocab_size))
        self.mask_id, (self.guess,) = tokenizer.mask_id, tokenizer.encode(word)
        self.read: list[list[int]] = []

    def head_weight(self) -> Tensor:
        return self.embedding.weight

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> Output:
        self.read = tokens.tolist()
        return Output(self.embedding(tokens.masked_fill(tokens == self.mask_id, self.guess)))


def filled(kind: str, word: str, text: str = TEXT, longest: int = 99) -> tuple[str, str, Says]:
    settings = TokenizerSettings(kind=kind, min_frequency=1, vocab_size=600)
    tokenizer = train_tokenizer([f"{TEXT}\n"] * 3, settings).with_mask()
    model = Says(tokenizer, word)
    hidden, shown = fill_words(model, tokenizer, Vocabulary.of(tokenizer), text, longest)
    assert model.read[0][0] == tokenizer.begin_id
    assert model.read[0][-1] == tokenizer.end_id
    return hidden, shown, model


@pytest.mark.parametrize(("kind", "word"), [("wordpiece", "물은"), ("bpe", " 물은"), ("word", "물은")])
def test_one_word_in_seven_is_hidden(kind: str, word: str) -> None:
    hidden, shown, model = filled(kind, word)
    assert hidden == "산은 높고 [__] 흐른다, 새벽 강에 빛이 내리고 (그리고) [__] 길을 따라 간다."
    assert shown == "산은 높고 [물은] 흐른다, 새벽 강에 빛이 내리고 (그리고) [낱말이→물은] 길을 따라 간다."
    assert model.read[0].count(model.mask_id) == 2


def test_all_tokens_of_a_word_are_hidden() -> None:
    _, shown, model = filled("char", "물")
    assert shown.startswith("산은 높고 [물은→물물] 흐른다, 새벽")
    assert model.read[0].count(model.mask_id) == 2 + 3


def test_short_and_long_texts() -> None:
    assert filled("word", "물은", "산은 높고")[1] == "산은 [높고→물은]"
    assert filled("word", "물은", "")[:2] == ("", "")
    assert filled("word", "물은", ",.")[1] == ",."
    assert filled("word", "물은", longest=6)[1] == "산은 높고 [물은] 흐른다"
    assert filled("word", "\n", "산은 높고")[1] == "산은 [높고→⏎]"


def test_what_is_doubted_is_marked() -> None:
    """Here by who doubts every `물은`, put there or not, and a token inside of a word doubts the word."""
    tokenizer = train_tokenizer([f"{TEXT}\n"] * 3, TokenizerSettings(kind="bpe", vocab_size=600, min_frequency=1))
    tokenizer = tokenizer.with_mask()
    (wanted,), read = tokenizer.encode(" 물은"), []

    def doubts(tokens: Tensor) -> Tensor:
        read.append(tokens.tolist())
        return (tokens[0] == wanted).float() - 0.5

    model, vocabulary = Says(tokenizer, " 물은"), Vocabulary.of(tokenizer)
    put, found = doubt_words(model, doubts, tokenizer, vocabulary, TEXT, 99)
    assert put == "산은 높고 [물은] 흐른다, 새벽 강에 빛이 내리고 (그리고) [낱말이→물은] 길을 따라 간다."
    assert found == "산은 높고 [물은?] 흐른다, 새벽 강에 빛이 내리고 (그리고) [물은?] 길을 따라 간다."
    assert read == [[[tokenizer.begin_id, *tokenizer.encode(TEXT.replace("낱말이", "물은")), tokenizer.end_id]]]
    nobody = doubt_words(model, lambda tokens: -torch.ones(tokens.shape[1]), tokenizer, vocabulary, TEXT, 99)
    assert nobody.filled == TEXT.replace("낱말이", "물은")
    letters = train_tokenizer([TEXT], TokenizerSettings(kind="char")).with_mask()
    (one,) = letters.encode("벽")
    found = doubt_words(
        Says(letters, "물"), lambda tokens: (tokens[0] == one).float() - 0.5, letters, Vocabulary.of(letters), TEXT, 99
    ).filled
    assert found.startswith("산은 높고 물물 흐른다, [새벽?] 강에")
