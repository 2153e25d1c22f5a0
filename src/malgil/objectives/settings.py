"""The settings of objectives."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting

NAMES = (
    *("causal_lm", "seq2seq", "masked_lm", "replaced_tokens", "distillation"),
    *("classification", "regression", "tagging", "answering", "contrastive"),
)
UNITS = ("token", "word", "span")


@dataclass(frozen=True)
class ObjectiveSettings:
    """Which objective is trained."""

    name: str = setting(
        "causal_lm",
        "what is learnt: the next token of a text (causal_lm), one text from another (seq2seq), tokens hidden in a "
        "text (masked_lm), also which tokens were put in their place (replaced_tokens), also what a larger model holds "
        "likely there (distillation); from labelled data labels of texts (classification), scores (regression), tags "
        "of words (tagging), answers in texts (answering), or which texts belong together (contrastive)",
        choices=NAMES,
    )
    label_smoothing: float = setting(
        0.0,
        "seq2seq, classification: probability that is shared among all tokens or labels instead of the right one",
        low=0,
        high=0.9,
    )
    also: str = setting(
        "none",
        "masked_lm: what is asked of pairs of texts beside: whether the second follows the first (next_sentence), or "
        "whether they are in their order (sentence_order)",
        choices=["none", "next_sentence", "sentence_order"],
    )
    generator_width: float = setting(
        0.25, "replaced_tokens: the generator's width and heads, as a share of the model's", above=0, high=1
    )
    teacher: str | None = setting(None, "distillation: the run folder of the model that is learnt from")
    temperature: float = setting(
        2.0, "distillation: by which scores are divided before they become soft targets", above=0, high=100
    )
    mask_rate: float = setting(
        0.15,
        "masked_lm and what builds on it: share of tokens that are hidden; evaluation hides 0.15 whatever stands here",
        above=0,
        high=0.9,
    )
    masking: str = setting(
        "token", "masked_lm: what is hidden as one: a token, a whole word, or a span of words", choices=UNITS
    )
    mask_once: bool = setting(False, "masked_lm: hide the same tokens in every epoch, instead of others each time")
    pooling: str = setting(
        "mean",
        "texts: what stands for a whole text, the mean of its tokens' vectors or the first one's",
        choices=["mean", "first"],
    )
    labels: list[str] = setting([], "labelled data: the names of the labels or tags in their order; empty: the data's")
    several_labels: bool = setting(False, "classification: whether a text may have several labels, or none")
    pairs: bool = setting(False, "labelled data: whether texts come in pairs; found in the data")
    class_weights: str = setting(
        "none",
        "classification: what each label counts in the loss: all the same, or the rarer the more (balanced)",
        choices=["none", "balanced"],
    )
    n_grams: int = setting(
        0,
        "classification: n-grams of up to so many characters vote beside the model, as naive Bayes and logistic "
        "regression have them; 0: none",
        low=0,
        high=8,
    )
    n_gram_share: float = setting(
        0.6, "classification: what n-grams have of a label's score, the model the rest", low=0, high=1
    )
    n_gram_votes: int = setting(
        0, "classification: how many n-grams have a vote; found in the data, those of three texts or more", low=0
    )
    max_answer: int = setting(30, "answering: tokens of an answer at most", low=1)
    null_threshold: float | None = setting(
        0.0,
        "answering: by how many nats an answer must be likelier than none, in its window, to be given; none = always",
        low=-1000,
        high=1000,
    )
    score_mean: float | None = setting(
        None, "regression: the mean of the scores; none = the data's", low=-1e12, high=1e12
    )
    score_spread: float | None = setting(
        None, "regression: the standard deviation of the scores; none = the data's", above=0
    )
    cosine_temperature: float = setting(
        0.05,
        "contrastive: what cosines are divided by; the smaller, the more the nearest of the other texts counts",
        above=0,
    )
    symmetric: bool = setting(False, "contrastive: of pairs, tell first texts apart too, given the second")
    normalize: bool = setting(True, "contrastive: embeddings are made of length 1, so that products are cosines")
    max_text_len: int | None = setting(
        None,
        "contrastive: tokens of a text that an embedding is made of, begin and end included; none = what the model "
        "can read",
        low=3,
    )
