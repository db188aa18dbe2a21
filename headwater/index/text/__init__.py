"""Texts and sparse vectors: analyzers, and one inverted index for both.

A text is cut into terms by an analyzer; a sparse vector's dimensions are its terms. Either way a term has postings: the
rows that hold it, in order, each with a count or a weight. `Postings` is what a search reads, whether it was built in
memory (`invert_texts`, `invert_sparse`) or is mapped from an artifact (`open_postings`).
"""

from headwater.index.text.analyzer import Analyzer, Token, Tokens, analyzer_of
from headwater.index.text.artifact import open_postings, write_postings
from headwater.index.text.build import invert_sparse, invert_texts
from headwater.index.text.highlight import Highlighting, highlight
from headwater.index.text.hot import Norms, hot_term
from headwater.index.text.match import match_fuzzy, match_phrase, match_terms
from headwater.index.text.params import (
    BM25_B,
    BM25_K1,
    INVERTED_KINDS,
    SPARSE_KIND,
    TEXT_KIND,
    check_sparse_search,
)
from headwater.index.text.postings import Postings
from headwater.index.text.score import Scoring, WeightedTerm, score_all, top_rows

__all__ = [
    "BM25_B",
    "BM25_K1",
    "INVERTED_KINDS",
    "SPARSE_KIND",
    "TEXT_KIND",
    "Analyzer",
    "Highlighting",
    "Postings",
    "Scoring",
    "Token",
    "Tokens",
    "WeightedTerm",
    "Norms",
    "analyzer_of",
    "check_sparse_search",
    "highlight",
    "hot_term",
    "invert_sparse",
    "invert_texts",
    "match_fuzzy",
    "match_phrase",
    "match_terms",
    "open_postings",
    "score_all",
    "top_rows",
    "write_postings",
]
