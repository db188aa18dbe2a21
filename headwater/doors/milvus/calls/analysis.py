"""Texts cut into terms, and the files of words that analyzers use."""

from __future__ import annotations

import json
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import FIELD_NOT_FOUND, IO_FAILED, UNEXPECTED, MilvusError, invalid
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.errors import AlreadyExists, FieldNotFound, InvalidArgument, ObjectNotFound

__all__: list[str] = []

MOST_TEXTS = 16_384


@rpc("RunAnalyzer", lane="long")
def run_analyzer(call: Call, request: milvus_pb2.RunAnalyzerRequest) -> milvus_pb2.RunAnalyzerResponse:
    """The terms that an analyzer, or that of a field, cuts texts into."""
    texts = _texts(request.placeholder)
    how: dict[str, Any] = {"with_detail": True, "with_hash": request.with_hash}
    if request.collection_name or request.field_name:
        found = _by_field(call, request, texts, how)
    else:
        if request.analyzer_names:
            raise invalid("analyzer names needs a collection and a field")
        found = call.db.run_analyzer(texts, _params(request.analyzer_params), **how)
    return milvus_pb2.RunAnalyzerResponse(status=OK, results=[_result(tokens, request) for tokens in found])


def _texts(placeholder: Any) -> list[str]:
    if not placeholder:
        raise invalid("run analyzer needs at least one text")
    if len(placeholder) > MOST_TEXTS:
        raise invalid(f"run analyzer takes at most {MOST_TEXTS} texts, got {len(placeholder)}")
    try:
        return [text.decode() for text in placeholder]
    except UnicodeDecodeError as error:
        raise invalid(f"a text is not UTF-8: {error}") from error


def _params(text: str) -> Any:
    """Analyzer parameters of a request; nothing is the standard analyzer, as in Milvus."""
    if not text.strip():
        return "standard"
    try:
        params = json.loads(text)
    except ValueError as error:
        raise invalid(f"analyzer params are not JSON: {error}") from error
    if not isinstance(params, dict):
        raise invalid(f"analyzer params must be a JSON object, got {text}")
    return params or "standard"


def _by_field(
    call: Call, request: milvus_pb2.RunAnalyzerRequest, texts: list[str], how: dict[str, Any]
) -> list[Any]:
    if request.analyzer_params:
        raise invalid("run analyzer takes analyzer params, or a collection and a field, not both")
    if not request.field_name:
        raise invalid("field name should not be empty")
    call.reading(request.collection_name)
    names = list(request.analyzer_names)
    if names and len(names) not in (1, len(texts)):
        raise invalid(
            f"the number of analyzer names must be 1 or {len(texts)}, the number of texts, got {len(names)}"
        )
    try:
        return call.db.run_analyzer(
            texts,
            collection_name=request.collection_name,
            field_name=request.field_name,
            analyzer_names=names or None,
            **how,
        )
    except FieldNotFound as error:
        raise MilvusError(FIELD_NOT_FOUND, field=request.field_name) from error


def _result(
    tokens: list[dict[str, Any]], request: milvus_pb2.RunAnalyzerRequest
) -> milvus_pb2.AnalyzerResult:
    made = []
    for one in tokens:
        token = milvus_pb2.AnalyzerToken(token=one["token"], hash=one.get("hash", 0))
        if request.with_detail:
            token.start_offset, token.end_offset = one["start_offset"], one["end_offset"]
            token.position, token.position_length = one["position"], 1
        made.append(token)
    return milvus_pb2.AnalyzerResult(tokens=made)


@rpc("ComputePhraseMatchSlop", lane="long")
def compute_phrase_match_slop(
    call: Call, request: milvus_pb2.ComputePhraseMatchSlopRequest
) -> milvus_pb2.ComputePhraseMatchSlopResponse:
    """The least slop with which each text holds a phrase."""
    found = call.db.least_slops(
        _params(request.analyzer_params), request.query_text, list(request.data_texts)
    )
    return milvus_pb2.ComputePhraseMatchSlopResponse(
        status=OK,
        is_match=[slop is not None for slop in found],
        slops=[0 if slop is None else slop for slop in found],
    )


# -- files ----------------------------------------------------------------------------------------------------------


@rpc("AddFileResource", lane="long")
def add_file_resource(call: Call, request: milvus_pb2.AddFileResourceRequest) -> common_pb2.Status:
    """Name a file of the lake's store."""
    if not request.path:
        raise MilvusError(UNEXPECTED, "Object name cannot be empty")
    if ".." in request.path.split("/"):
        raise MilvusError(IO_FAILED, f"file resource path {request.path} leaves its folder")
    try:
        call.db.files.add(request.name, request.path)
    except ObjectNotFound as error:
        raise invalid(f"file resource path not exist: {request.path}") from error
    except AlreadyExists as error:
        raise invalid(f"file resource {request.name} already exists with another path") from error
    return OK


@rpc("RemoveFileResource", lane="long")
def remove_file_resource(call: Call, request: milvus_pb2.RemoveFileResourceRequest) -> common_pb2.Status:
    """Forget the name of a file; one that is not there is forgotten already."""
    try:
        call.db.files.remove(request.name)
    except InvalidArgument as error:
        raise invalid(error.message) from error
    return OK


@rpc("ListFileResources")
def list_file_resources(
    call: Call, request: milvus_pb2.ListFileResourcesRequest
) -> milvus_pb2.ListFileResourcesResponse:
    """The files that analyzers may name."""
    files = [
        milvus_pb2.FileResourceInfo(id=one.id, name=one.name, path=one.path) for one in call.db.files.list()
    ]
    return milvus_pb2.ListFileResourcesResponse(status=OK, resources=files)
