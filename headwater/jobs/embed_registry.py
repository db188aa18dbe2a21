"""From the parameters of a TEXT_EMBEDDING function to what computes it.

A provider is built in (`lexical`, `wordllama`, `onnx`, `openai`), or an object of the user's that is registered under
a name in this process. Secrets are registered likewise, or come from the environment: a manifest has their names only.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from headwater.errors import (
    DimensionMismatch,
    InvalidArgument,
    NotReady,
    PermissionDenied,
    SchemaMismatch,
    UnsupportedOption,
)
from headwater.jobs.embed_http import HttpEmbedder
from headwater.jobs.embed_onnx import OnnxEmbedder
from headwater.jobs.embedders import Embedder, LexicalEmbedder, WordLlamaEmbedder
from headwater.schema import Field, Function
from headwater.types import FloatMatrix

__all__ = ["EmbedderRegistry", "TextEmbedder"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MOST_BUILT = 64
_BATCH = 1024
_OPENAI_URL = "https://api.openai.com/v1"

ELSEWHERE = (
    "ali",
    "azure_openai",
    "bedrock",
    "cohere",
    "dashscope",
    "gemini",
    "siliconflow",
    "tei",
    "vertexai",
    "voyageai",
    "yc",
    "zilliz",
)
"""Milvus's providers that have protocols of their own."""


class TextEmbedder:
    """Texts to vectors: documents by one way, questions by another where the model tells them apart.

    Args:
        documents: texts to (n, dim).
        queries: questions to (n, dim).
        dim: that the field has.
        named: for errors.
    """

    def __init__(
        self,
        documents: Callable[[Sequence[str]], Any],
        queries: Callable[[Sequence[str]], Any],
        dim: int,
        named: str,
    ) -> None:
        self._documents = documents
        self._queries = queries
        self._dim = dim
        self._named = named

    def documents(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32.

        Raises:
            DimensionMismatch: the embedder gives vectors of another length than the field has.
            SchemaMismatch: it gives something else, or numbers that are not finite.
        """
        return self._checked(self._documents, texts)

    def queries(self, texts: Sequence[str]) -> FloatMatrix:
        """`documents`, of questions."""
        return self._checked(self._queries, texts)

    def _checked(self, embed: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> FloatMatrix:
        out = np.empty((len(texts), self._dim), np.float32)
        for start in range(0, len(texts), _BATCH):
            part = list(texts[start : start + _BATCH])
            try:
                matrix = np.asarray(embed(part), np.float32)
            except (ValueError, TypeError) as error:
                if isinstance(error, InvalidArgument):
                    raise
                raise SchemaMismatch(f"{self._named} gave no matrix of numbers: {error}") from error
            if matrix.ndim != 2 or len(matrix) != len(part):
                raise SchemaMismatch(f"{self._named} gave shape {matrix.shape} for {len(part)} texts")
            if matrix.shape[1] != self._dim:
                raise DimensionMismatch(
                    f"{self._named} gives vectors of {matrix.shape[1]} numbers, and the field has {self._dim}",
                    hint=f"declare the field as FloatVector({matrix.shape[1]})",
                )
            if not np.isfinite(matrix).all():
                raise SchemaMismatch(f"{self._named} gave NaN or infinity")
            out[start : start + len(part)] = matrix
        return out


class EmbedderRegistry:
    """Embedders and secrets that this process knows. Safe to use from several threads."""

    def __init__(self) -> None:
        self._registered: dict[str, Any] = {}
        self._secrets: dict[str, tuple[str, str | None]] = {}
        self._built: dict[tuple[str, int], TextEmbedder] = {}
        self._lock = threading.Lock()

    def register(self, name: str, embedder: Any) -> None:
        """Let an object stand for a provider's name.

        Args:
            name: what functions say as `provider`.
            embedder: has `embed_documents` and `embed_query` (LangChain's Embeddings), or `embed`, or is a callable
                from a list of texts to a matrix.

        Raises:
            InvalidArgument: the name is a built-in provider's, or the object embeds nothing.
        """
        if name.lower() in (*_BUILT_IN, *ELSEWHERE) or not name:
            raise InvalidArgument(f"embedder name {name!r} is that of a provider; choose another")
        _ways(name, embedder)
        with self._lock:
            self._registered[name] = embedder
            self._built.clear()

    def set_credential(self, name: str, secret: str, url: str | None = None) -> None:
        """Keep a secret in memory, under the name that functions give as `credential`.

        Args:
            name: letters, digits and underscores.
            secret: what is sent.
            url: the only service that it is sent to; None for any that a function names.
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"credential name {name!r} must be letters, digits and underscores")
        with self._lock:
            self._secrets[name] = secret, url
            self._built.clear()

    def embedder(self, function: Function, field: Field) -> TextEmbedder:
        """What computes a function; kept.

        Args:
            function: of type TEXT_EMBEDDING.
            field: that it fills.

        Raises:
            UnsupportedOption: the provider, or a parameter, is unknown.
            NotReady: nobody registered the provider in this process.
            MissingExtra: it needs an extra that is not installed.
        """
        dim = field.type.dim or 0
        with self._lock:
            held = self._built.get((function.params, dim))
        if held is not None:
            return held
        made = self._made(function, dim)
        with self._lock:
            if len(self._built) >= _MOST_BUILT:
                self._built.clear()
            return self._built.setdefault((function.params, dim), made)

    def _made(self, function: Function, dim: int) -> TextEmbedder:
        options = function.options
        provider = options.pop("provider", None)
        if not isinstance(provider, str):
            raise InvalidArgument(
                f"function {function.name!r}: TEXT_EMBEDDING needs the parameter provider",
                hint=f"providers: {', '.join(_BUILT_IN)}, or a name given to register_embedder()",
            )
        named = f"function {function.name!r}, provider {provider!r}"
        if provider in self._registered:
            _check_params(named, options, ("dim", "model_name"))
            documents, queries = _ways(provider, self._registered[provider])
            return TextEmbedder(documents, queries, dim, named)
        kind = provider.lower()
        if kind in ELSEWHERE:
            raise UnsupportedOption(
                f"{named}: this provider's protocol is not spoken here",
                hint="provider 'openai' takes any OpenAI-compatible url; others can be registered",
            )
        if kind not in _BUILT_IN:
            raise NotReady(
                f"{named}: no such embedder in this process",
                hint=f"register_embedder({provider!r}, ...) first; built in: {', '.join(_BUILT_IN)}",
            )
        _check_params(named, options, _BUILT_IN[kind])
        prompts = [str(options.pop(name, "")) for name in ("ingestion_prompt", "search_prompt")]
        embed = self._built_in(kind, named, options, dim).embed
        return TextEmbedder(_prompted(embed, prompts[0]), _prompted(embed, prompts[1]), dim, named)

    def _built_in(self, kind: str, named: str, options: Mapping[str, Any], dim: int) -> Any:
        if kind == LexicalEmbedder.name:
            return LexicalEmbedder(dim)
        if kind == WordLlamaEmbedder.name:
            return WordLlamaEmbedder()
        if kind == "onnx":
            if "path" not in options:
                raise InvalidArgument(f"{named} needs the parameter path: a folder with the model")
            return OnnxEmbedder(
                options["path"],
                pooling=options.get("pooling", "mean"),
                normalize=_flag(named, options, "normalize"),
                max_length=_whole(named, options, "max_length", 512),
                batch=_whole(named, options, "max_client_batch_size", 32),
            )
        if "model_name" not in options:
            raise InvalidArgument(f"{named} needs the parameter model_name")
        base = os.environ.get("OPENAI_BASE_URL", _OPENAI_URL)
        url = options.get("url", base)
        credential = options.get("credential")
        return HttpEmbedder(
            options["model_name"],
            dim=dim if "dim" in options else None,
            url=url,
            credential=_own_key(url, base) if credential is None else self._secret_of(named, credential, url),
            batch=_whole(named, options, "max_client_batch_size", 128),
            timeout_s=_whole(named, options, "timeout_ms", 30_000) / 1000,
        )

    def _secret_of(self, named: str, name: Any, url: str) -> Callable[[], str]:
        """Gives a secret by its name, where it may be sent to a service."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"{named}: credential must be the name of a secret, not the secret: it is kept in the lake",
                hint="set_credential(name, secret), or the variable HEADWATER_CREDENTIAL_<NAME>",
            )
        variable = f"HEADWATER_CREDENTIAL_{name.upper()}"

        def secret() -> str:
            kept, only = self._secrets.get(name) or (
                os.environ.get(variable),
                os.environ.get(f"{variable}_URL"),
            )
            if kept is None:
                raise NotReady(
                    f"{named}: no credential {name!r} in this process",
                    hint=f"set_credential({name!r}, ...), or the variable {variable}",
                )
            if only is not None and not _within(url, only):
                raise PermissionDenied(
                    f"{named}: credential {name!r} is not for {url}",
                    hint="whoever set the credential said which url it may be sent to",
                )
            return kept

        return secret


def _own_key(url: str, base: str) -> Callable[[], str | None]:
    """Gives the environment's key where a service is under the address that it is for, and none elsewhere."""
    return lambda: os.environ.get("OPENAI_API_KEY") if _within(url, base) else None


def _within(url: str, base: str) -> bool:
    """Whether an address is under another; compared as text, which no two libraries read differently."""
    return f"{url.rstrip('/')}/".startswith(f"{base.rstrip('/')}/")


_BUILT_IN: dict[str, tuple[str, ...]] = {
    LexicalEmbedder.name: ("dim",),
    WordLlamaEmbedder.name: ("dim",),
    "onnx": OnnxEmbedder.params,
    "openai": HttpEmbedder.params,
}
"""Providers that are built in, and their parameters."""


def _check_params(named: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in options:
        if name not in known:
            raise UnsupportedOption(
                f"{named} has no parameter {name!r}", hint=f"parameters: {', '.join(known)}"
            )


def _whole(named: str, options: Mapping[str, Any], name: str, default: int) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgument(f"{named}: {name} must be a positive integer, got {value!r}")
    return value


def _flag(named: str, options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, True)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{named}: {name} must be true or false, got {value!r}")
    return value


def _prompted(embed: Callable[[Sequence[str]], Any], prompt: str) -> Callable[[Sequence[str]], Any]:
    return (lambda texts: embed([prompt + text for text in texts])) if prompt else embed


def _ways(name: str, embedder: Embedder | Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How an object embeds documents, and how questions."""
    documents = getattr(embedder, "embed_documents", None)
    one_query = getattr(embedder, "embed_query", None)
    if callable(documents):
        if callable(one_query):
            return documents, lambda texts: [one_query(text) for text in texts]
        return documents, documents
    embed = getattr(embedder, "embed", None)
    if callable(embed):
        return embed, embed
    if callable(embedder):
        return embedder, embedder
    raise InvalidArgument(
        f"embedder {name!r}: {type(embedder).__name__} has no embed_documents and is not callable",
        hint="pass a LangChain Embeddings, or a function from a list of texts to a matrix",
    )
