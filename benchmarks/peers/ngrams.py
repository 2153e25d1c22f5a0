"""Logistic regression on n-grams, weighted by naive Bayes (Wang and Manning 2012); prints a JSON object.

    python ngrams.py classify | similarity | tag TRAIN.jsonl SCORED.jsonl

classify      n-grams of characters (1 to 5) and of words (1 and 2), present or not, each times the logarithm of the
              ratio of its frequencies in the two classes; one against the rest where there are more
similarity    no classes, so no ratio: ridge regression on how much of the n-grams two texts share, by tf-idf
tag           a linear classifier (support vectors) of each word by itself, from its letters, its shape and its
              neighbours; no tags of neighbours
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

ALPHA, C = 1.0, 2.0


def rows_of(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def classify(train, scored):
    grams = make_union(
        CountVectorizer(analyzer="char", ngram_range=(1, 5), min_df=3, binary=True, dtype=np.float32),
        CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=2, binary=True, dtype=np.float32),
    )
    x = grams.fit_transform([row["text"] for row in train]).tocsr()
    z = grams.transform([row["text"] for row in scored]).tocsr()
    names = sorted({row["label"] for row in train})
    labels = np.array([row["label"] for row in train])
    scores = []
    for name in names[1:] if len(names) == 2 else names:
        own = labels == name
        inside, outside = (ALPHA + np.asarray(x[chosen].sum(0)).ravel() for chosen in (own, ~own))
        ratio = sparse.diags(np.log(inside / inside.sum()) - np.log(outside / outside.sum()), dtype=np.float32)
        a, b = (of_one_length(counts) @ ratio for counts in (x, z))
        model = LogisticRegression(C=C, solver="liblinear", dual=True, tol=1e-2, max_iter=200).fit(a, own)
        scores.append(model.decision_function(b))
    if len(names) == 2:
        return [names[int(score > 0)] for score in scores[0]]
    return [names[i] for i in np.argmax(scores, axis=0)]


def of_one_length(counts):
    """Rows divided by the root of their n-grams' number: long texts have no more to say than short ones."""
    sizes = np.asarray(counts.sum(1)).ravel()
    return sparse.diags(1 / np.sqrt(np.maximum(1, sizes))) @ counts


def similarity(train, scored):
    kinds = [("char", (1, 1)), ("char", (2, 2)), ("char", (3, 3)), ("char_wb", (2, 4)), ("word", (1, 1))]
    whole = {"word": {"token_pattern": r"\S+"}}
    grams = [TfidfVectorizer(analyzer=a, ngram_range=n, sublinear_tf=True, **whole.get(a, {})) for a, n in kinds]
    for gram in grams:
        gram.fit([row[side] for row in train for side in ("text", "pair")])

    def features(rows):
        found = []
        for gram in grams:
            a, b = (gram.transform([row[side] for row in rows]) for side in ("text", "pair"))
            found.append(np.asarray(a.multiply(b).sum(1)).ravel())
            shared, either = (np.asarray(m.sum(1)).ravel() for m in (a.minimum(b), a.maximum(b)))
            found.append(shared / np.maximum(either, 1e-9))
        lengths = np.array([[len(row["text"]), len(row["pair"])] for row in rows])
        found.append(lengths.min(1) / lengths.max(1))
        x = np.stack(found, axis=1)
        return np.concatenate([x, x**2], axis=1)

    model = Ridge(alpha=1.0).fit(features(train), [row["label"] for row in train])
    return model.predict(features(scored)).tolist()


def shape(word):
    kinds = ["X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word]
    return "".join(c for i, c in enumerate(kinds) if i == 0 or kinds[i - 1] != c)


def words_of(tokens):
    """What is known of each word: its letters, its shape, its neighbours."""
    for i, word in enumerate(tokens):
        found = {"first": i == 0, "last": i == len(tokens) - 1}
        for step in (-2, -1, 0, 1, 2):
            other = tokens[i + step] if 0 <= i + step < len(tokens) else "<>"
            found |= {f"{step} word": other.lower(), f"{step} shape": shape(other)}
        for n in (1, 2, 3, 4):
            found |= {f"begins {n}": word[:n].lower(), f"ends {n}": word[-n:].lower()}
        found["two"] = " ".join(tokens[max(0, i - 1) : i + 1]).lower()
        yield found


def tag(train, scored):
    vectors = DictVectorizer()
    x = vectors.fit_transform([word for row in train for word in words_of(row["tokens"])])
    x.indices, x.indptr = x.indices.astype(np.int32), x.indptr.astype(np.int32)
    model = LinearSVC(C=0.3).fit(x, [one for row in train for one in row["tags"]])
    predicted = []
    for row in scored:
        tags = model.predict(vectors.transform(list(words_of(row["tokens"])))).tolist()
        for i, one in enumerate(tags):  # what goes on without a beginning begins
            if one.startswith("I-") and (i == 0 or tags[i - 1][2:] != one[2:]):
                tags[i] = f"B-{one[2:]}"
        predicted.append(tags)
    return predicted


def main() -> None:
    kind, train, scored = sys.argv[1], rows_of(sys.argv[2]), rows_of(sys.argv[3])
    started = time.perf_counter()
    predicted = {"classify": classify, "similarity": similarity, "tag": tag}[kind](train, scored)
    print(json.dumps({"predicted": predicted, "seconds": round(time.perf_counter() - started, 1)}))


if __name__ == "__main__":
    main()
