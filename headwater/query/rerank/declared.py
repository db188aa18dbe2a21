"""Rerankers declared as Milvus declares them: a function of type RERANK with text parameters, or several together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.query.rerank.boost import BoostRanker, Boosts
from headwater.query.rerank.decay import DecayRanker
from headwater.query.rerank.http import HttpScorer
from headwater.query.rerank.model import ModelRanker
from headwater.query.rerank.protocol import Reranker
from headwater.query.rerank.rrf import RRFRanker
from headwater.query.rerank.sequence import RankerSequence
from headwater.query.rerank.weighted import WeightedRanker

__all__ = ["FunctionScore", "RerankFunction", "from_declaration", "looks_declared", "model_params"]


@dataclass(frozen=True)
class RerankFunction:
    """A reranker as Milvus declares it; pymilvus's own `Function` is taken in its place.

    Attributes:
        name: for people.
        input_field_names: the field that `decay` or `model` reads; none for the others.
        params: ``{"reranker": "rrf" | "weighted" | "decay" | "boost" | "model", ...}`` and its parameters, as
            numbers or as text.
    """

    name: str
    input_field_names: Sequence[str] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FunctionScore:
    """Several declared rerankers together.

    Attributes:
        functions: boosts, and at most one of another kind, which comes first.
        params: of the boosts: `boost_mode` and `function_mode`, each `multiply` or `sum`.
    """

    functions: Any
    params: Mapping[str, Any] | None = None


def looks_declared(value: Any) -> bool:
    """Whether a value is a declaration, ours or Milvus's."""
    return hasattr(value, "functions") or isinstance(getattr(value, "params", None), Mapping)


def from_declaration(value: Any) -> Reranker:
    """The reranker that a declaration describes.

    Raises:
        InvalidArgument: a parameter is missing or wrong.
        UnsupportedOption: the reranker or a parameter is unknown.
    """
    functions = getattr(value, "functions", None)
    if functions is None:
        return _one(value)
    several = list(functions) if isinstance(functions, list | tuple) else [functions]
    made = [_one(function) for function in several]
    boosts = [one for one in made if isinstance(one, BoostRanker)]
    others = [one for one in made if not isinstance(one, BoostRanker)]
    if len(others) > 1:
        raise InvalidArgument(f"FunctionScore: one reranker besides boosts, got {len(others)}")
    modes = _Params("FunctionScore", getattr(value, "params", None) or {})
    chain: list[Reranker] = list(others)
    boost_mode, function_mode = modes.mode("boost_mode"), modes.mode("function_mode")
    modes.done()
    if boosts:
        chain.append(Boosts(tuple(boosts), boost_mode, function_mode))
    return RankerSequence(tuple(chain))


def _one(function: Any) -> Reranker:
    params = _Params("ranker", getattr(function, "params", {}))
    fields = list(getattr(function, "input_field_names", None) or [])
    kind = str(params.take("reranker", required=True)).lower()
    if kind not in _MAKERS:
        raise UnsupportedOption(f"reranker {kind!r} is unknown", hint=f"known: {', '.join(_MAKERS)}")
    made = _MAKERS[kind](params, fields)
    params.done()
    return made


class _Params:
    """Parameters that are taken one by one, so that what is left over was meant for nobody."""

    def __init__(self, owner: str, params: Mapping[str, Any]) -> None:
        self._owner = owner
        self._left = dict(params)

    def take(self, name: str, default: Any = None, *, required: bool = False) -> Any:
        if required and name not in self._left:
            raise InvalidArgument(f"{self._owner}: parameter {name!r} is missing")
        return self._left.pop(name, default)

    def number(self, name: str, default: Any = None, *, required: bool = False) -> Any:
        value = self.take(name, default, required=required)
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError as error:
                raise InvalidArgument(f"{self._owner}: {name} {value!r} is no number") from error
        return value

    def truth(self, name: str, default: bool) -> bool:
        value = self.take(name, default)
        known = {"true": True, "false": False}
        if isinstance(value, str) and value.lower() in known:
            return known[value.lower()]
        if not isinstance(value, bool):
            raise InvalidArgument(f"{self._owner}: {name} must be true or false, got {value!r}")
        return value

    def has(self, name: str) -> bool:
        return name in self._left

    def typed(self, name: str, kind: type) -> Any:
        """A value that is given, as the type that it is sent as."""
        if kind is bool:
            return self.truth(name, False)
        return int(self.number(name)) if kind is int else str(self.take(name))

    def parsed(self, name: str, *, required: bool = False) -> Any:
        """A value that may come as JSON text."""
        value = self.take(name, required=required)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise InvalidArgument(f"{self._owner}: {name} {value!r} is no JSON") from error

    def mode(self, name: str) -> str:
        return str(self.take(name, "multiply")).lower()

    def done(self) -> None:
        if self._left:
            raise UnsupportedOption(f"{self._owner}: unknown parameter {next(iter(self._left))!r}")


def _no_field(kind: str, fields: list[str]) -> None:
    if fields:
        raise InvalidArgument(f"reranker {kind} reads no field, got input_field_names {fields}")


def _one_field(kind: str, fields: list[str]) -> str:
    if len(fields) != 1:
        raise InvalidArgument(f"reranker {kind} reads one field, got input_field_names {fields}")
    return fields[0]


def _rrf(params: _Params, fields: list[str]) -> Reranker:
    _no_field("rrf", fields)
    return RRFRanker(params.number("k", 60))


def _weighted(params: _Params, fields: list[str]) -> Reranker:
    _no_field("weighted", fields)
    weights = params.parsed("weights", required=True)
    if not isinstance(weights, list | tuple):
        raise InvalidArgument(f"reranker weighted: weights must be a list, got {weights!r}")
    return WeightedRanker(*weights, norm_score=params.truth("norm_score", False))


def _decay(params: _Params, fields: list[str]) -> Reranker:
    return DecayRanker(
        field=_one_field("decay", fields),
        origin=params.number("origin", required=True),
        scale=params.number("scale", required=True),
        function=str(params.take("function", required=True)).lower(),
        offset=params.number("offset", 0),
        decay=params.number("decay", 0.5),
        score_mode=str(params.take("score_mode", "max")).lower(),
        norm_score=params.truth("norm_score", False),
    )


def _boost(params: _Params, fields: list[str]) -> BoostRanker:
    _no_field("boost", fields)
    return BoostRanker(
        weight=params.number("weight", required=True),
        filter=params.take("filter"),
        random_score=params.parsed("random_score"),
    )


class _Provider(NamedTuple):
    """A kind of reranking service: how it speaks, and which parameters a request of it takes, with their types."""

    style: str
    options: Mapping[str, type]


_PROVIDERS = {
    "tei": _Provider("tei", {"truncate": bool, "truncation_direction": str}),
    "cohere": _Provider("cohere", {"max_tokens_per_doc": int}),
    "vllm": _Provider("cohere", {"truncate_prompt_tokens": int}),
    "jina": _Provider("cohere", {}),
    "voyageai": _Provider("cohere", {"truncation": bool}),
    "siliconflow": _Provider("cohere", {"max_chunks_per_doc": int, "overlap_tokens": int}),
}
_OF_MODELS = frozenset(
    ("reranker", "provider", "endpoint", "queries", "model_name", "api_key_env", "max_client_batch_size")
)


def model_params(provider: str) -> frozenset[str] | None:
    """The parameters of the reranker `model` with a provider; None where there is no such provider."""
    known = _PROVIDERS.get(provider.lower())
    return None if known is None else _OF_MODELS | known.options.keys()


def _model(params: _Params, fields: list[str]) -> Reranker:
    provider = str(params.take("provider", required=True)).lower()
    if provider not in _PROVIDERS:
        raise UnsupportedOption(
            f"reranker model: provider {provider!r} is unknown", hint=f"known: {', '.join(_PROVIDERS)}"
        )
    endpoint = str(params.take("endpoint", required=True))
    if "://" not in endpoint:
        raise InvalidArgument(f"reranker model: endpoint {endpoint!r}: expected an http(s) address")
    if not endpoint.rstrip("/").endswith("rerank"):
        endpoint = endpoint.rstrip("/") + "/rerank"
    named = _PROVIDERS[provider]
    options = {name: params.typed(name, kind) for name, kind in named.options.items() if params.has(name)}
    scorer = HttpScorer(
        endpoint,
        model=params.take("model_name"),
        style=named.style,
        api_key_env=params.take("api_key_env"),
        batch=int(params.number("max_client_batch_size", 128)),
        options=options,
    )
    return ModelRanker(scorer, _one_field("model", fields), params.parsed("queries", required=True))


_MAKERS: dict[str, Callable[[_Params, list[str]], Reranker]] = {
    "rrf": _rrf,
    "weighted": _weighted,
    "decay": _decay,
    "boost": _boost,
    "model": _model,
}
