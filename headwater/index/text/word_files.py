"""Files of words that an analyzer names: stop words, synonyms, parts of compounds, dictionaries.

A field keeps the digest of the file that it was declared with beside the file's name, so its terms never change with
what the name stands for later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from headwater.errors import InvalidArgument

__all__ = ["DIGEST", "FILE_OPTIONS", "WordFiles", "words_of"]

FILE_OPTIONS = ("stop_words_file", "synonyms_file", "word_list_file", "extra_dict_file")
"""Options whose value is a file."""

DIGEST = "digest"
"""Part of a file's declaration that the lake adds: the SHA-256 of its bytes."""


class WordFiles(Protocol):
    """Where analyzers find the lines of their files."""

    def lines(self, digest: str) -> list[str]:
        """The lines of the file of a digest, without the empty ones.

        Raises:
            ObjectNotFound: there is no such file.
        """
        ...


def words_of(option: str, value: Any, files: WordFiles | None) -> list[str]:
    """The lines of the file that an option names.

    Args:
        option: the option's name.
        value: ``{"type": "remote", "resource_name": ..., "file_name": ..., "digest": ...}``.
        files: where to find it.

    Raises:
        InvalidArgument: it is no declaration of a file, or the file was never added to the lake.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get(DIGEST), str) or files is None:
        raise InvalidArgument(
            f"{option}: the file {value!r} is not found in local resource list",
            hint="add it as a file resource first",
        )
    return files.lines(value[DIGEST])
