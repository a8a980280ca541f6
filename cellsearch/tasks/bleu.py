"""BLEU: how many word sequences of a translation stand in a reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["corpus_bleu", "plain_bleu"]

ORDER = 4


def corpus_bleu(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> float:
    """BLEU of order 4 over a corpus of tokenised sentences, 0 to 100, one or more references a
    sentence, without smoothing.

    Computed by sacrebleu (Post 2018, ``pip install cellsearch[translation]``) where it is
    installed, else by :func:`plain_bleu`; the two agree up to rounding. Figures on raw text are not
    comparable.
    """
    if find_spec("sacrebleu") is None:
        return plain_bleu(hypotheses, references)
    import sacrebleu

    most = max((len(options) for options in references), default=0)
    streams = [
        [" ".join(options[k]) if k < len(options) else None for options in references]
        for k in range(most)
    ]
    found = sacrebleu.corpus_bleu(
        [" ".join(h) for h in hypotheses],
        streams,
        tokenize="none",
        smooth_method="none",
        force=True,
    )
    return float(found.score)


def plain_bleu(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> float:
    """See :func:`corpus_bleu`; without any other library.

    Papineni et al. 2002: the geometric mean of the clipped n-gram precisions of the whole corpus
    (section 2.1) times the brevity penalty against the closest reference lengths (section 2.2). 0
    if no 4-gram is right.
    """
    right, made = [0] * ORDER, [0] * ORDER
    length = closest = 0
    for hypothesis, options in zip(hypotheses, references, strict=True):
        length += len(hypothesis)
        closest += min(
            (len(reference) for reference in options), key=lambda n: (abs(n - len(hypothesis)), n)
        )
        for n in range(1, ORDER + 1):
            counts = _ngrams(hypothesis, n)
            allowed: Counter[tuple[str, ...]] = Counter()
            for reference in options:
                allowed |= _ngrams(reference, n)
            right[n - 1] += sum((counts & allowed).values())
            made[n - 1] += sum(counts.values())
    if not all(right):
        return 0.0
    precision = sum(math.log(r / m) for r, m in zip(right, made, strict=True)) / ORDER
    return 100.0 * math.exp(precision + min(0.0, 1.0 - closest / length))


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))
