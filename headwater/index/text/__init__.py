"""Texts and sparse vectors: analyzers, and one inverted index for both.

A text is cut into terms by an analyzer; a sparse vector's dimensions are its terms. Either way a term has postings: the
rows that hold it, in order, each with a count or a weight. `Postings` is what a search reads, whether it was built in
memory (`invert_texts`, `invert_sparse`) or is mapped from an artifact (`open_postings`).
"""

from headwater.index.text.analyzer import Analyzer, Token, Tokens
from headwater.index.text.artifact import open_postings, write_postings
from headwater.index.text.build import invert_sparse, invert_texts
from headwater.index.text.declared import analyzer_of, declared_analyzer
from headwater.index.text.highlight import Highlighting, highlight
from headwater.index.text.hot import Norms, hot_term
from headwater.index.text.match import match_fuzzy, match_phrase, match_terms, phrase_slop
from headwater.index.text.multi import MultiAnalyzer
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
from headwater.index.text.word_files import DIGEST, FILE_OPTIONS, WordFiles

__all__ = [
    "BM25_B",
    "BM25_K1",
    "DIGEST",
    "FILE_OPTIONS",
    "INVERTED_KINDS",
    "SPARSE_KIND",
    "TEXT_KIND",
    "Analyzer",
    "Highlighting",
    "MultiAnalyzer",
    "Postings",
    "Scoring",
    "Token",
    "Tokens",
    "WeightedTerm",
    "WordFiles",
    "Norms",
    "analyzer_of",
    "declared_analyzer",
    "phrase_slop",
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
