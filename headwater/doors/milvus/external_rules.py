"""What Milvus checks of an external collection's schema, source and spec, in its order and words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import UNSUPPORTED, MilvusError, invalid
from headwater.doors.milvus.field_rules import missing
from headwater.lake.external.spec import CLOUD_HOSTS, SECRET_OPTIONS, derived_endpoint
from headwater.schema import Schema

__all__ = ["asks_external", "check_added", "check_external_schema", "check_remote", "check_source"]

Proto = schema_pb2.DataType

_SCHEMES = ("aws", "azure", "cos", "gcs", "gs", "minio", "obs", "oss", "s3", "s3a")
_SIGNED_SCHEMES = ("s3", "s3a", "aws")
_PROVIDERS = ("aws", "gcp", "aliyun", "tencent", "huawei", "azure", "minio")
_FORMATS = ("iceberg-table", "lance-table", "milvus-table", "parquet", "vortex")
_TRUTHS = ("use_iam", "use_ssl", "use_virtual_host", "anonymous")
_AZURE = ("azure_client_id", "azure_tenant_id", "azure_credential_endpoint")
_KEYS = tuple(
    sorted(
        (
            *_TRUTHS,
            *SECRET_OPTIONS,
            *_AZURE,
            "role_arn",
            "session_name",
            "gcp_target_service_account",
            "region",
            "cloud_provider",
            "bucket_name",
            "iam_endpoint",
            "storage_type",
            "load_frequency",
        )
    )
)
_TYPES = frozenset(
    (
        *(Proto.Bool, Proto.Int8, Proto.Int16, Proto.Int32, Proto.Int64, Proto.Float, Proto.Double),
        *(Proto.VarChar, Proto.Text, Proto.JSON, Proto.Array, Proto.Timestamptz, Proto.Geometry),
        *(Proto.FloatVector, Proto.Float16Vector, Proto.BFloat16Vector, Proto.BinaryVector),
        *(Proto.Int8Vector, Proto.ArrayOfVector),
    )
)
_MODES = (
    "AK/SK, role_arn, use_iam=true, gcp_target_service_account, Azure credential broker, or anonymous=true"
)


def asks_external(schema: schema_pb2.CollectionSchema) -> bool:
    """Whether a schema is meant to be of an external collection."""
    mapped = any(field.external_field for field in schema.fields)
    return bool(schema.external_source or schema.external_spec) or mapped


def check_external_schema(schema: schema_pb2.CollectionSchema, name: str) -> None:
    """Check the schema of an external collection.

    Args:
        schema: as a client declares it.
        name: of the collection.

    Raises:
        MilvusError: it breaks a rule.
    """
    if bool(schema.external_source) != bool(schema.external_spec):
        raise invalid(
            f"external collection {name} requires external_source and external_spec to be both set or both empty"
        )
    if schema.enable_dynamic_field:
        raise invalid(f"external collection {name} does not support dynamic field")
    if schema.struct_array_fields:
        raise invalid(f"external collection {name} does not support struct fields")
    outputs = {output for function in schema.functions for output in function.output_field_names}
    columns: dict[str, str] = {}
    for field in schema.fields:
        _check_field(field, name, outputs)
        if field.external_field:
            other = columns.setdefault(field.external_field, field.name)
            if other != field.name:
                raise invalid(
                    f'external collection {name}: external_field "{field.external_field}" is mapped by multiple '
                    f"fields: {other}, {field.name}"
                )
    if schema.external_source:
        check_source(schema.external_source, schema.external_spec)


def _check_field(field: schema_pb2.FieldSchema, name: str, outputs: set[str]) -> None:
    where = f"external collection {name} does not support"
    if field.is_primary_key:
        raise invalid(f"{where} user-defined primary key field {field.name}")
    if field.is_partition_key:
        raise invalid(f"{where} partition key field {field.name}")
    if field.is_clustering_key:
        raise invalid(f"{where} clustering key field {field.name}")
    if field.autoID:
        raise invalid(f"{where} auto id on field {field.name}")
    if field.name in outputs or field.is_function_output:
        if field.external_field:
            raise invalid(
                f"function output field '{field.name}' in external collection {name} must not have "
                "external_field mapping"
            )
        return
    if not field.external_field:
        raise invalid(f"field '{field.name}' in external collection {name} must have external_field mapping")
    if field.data_type not in _TYPES:
        raise invalid(f"{where} field type {Proto.Name(field.data_type)} on field {field.name}")


def check_added(schema: Schema, field: schema_pb2.FieldSchema, name: str) -> None:
    """Check a field that is added to an external collection.

    Args:
        schema: the collection's.
        field: as a client declares it.
        name: of the collection.

    Raises:
        MilvusError: it breaks a rule.
    """
    if not field.external_field:
        raise invalid(
            f"add field operation on external collection requires external_field mapping, field name = {field.name}"
        )
    _check_field(field, name, set())
    for other in schema.fields:
        if other.source == field.external_field:
            raise invalid(
                f'external collection {name}: external_field "{field.external_field}" is mapped by multiple fields: '
                f"{other.name}, {field.name}"
            )


# -- source and spec --------------------------------------------------------------------------------------------------


def check_source(source: str, spec: str) -> None:
    """Check where an external collection's rows come from.

    Args:
        source: a URI.
        spec: JSON.

    Raises:
        MilvusError: 1100 or 1101; 3000 for a format that is known and not served.
    """
    _check_uri(source)
    parsed = _parsed(spec)
    _check_extfs(source, parsed.get("extfs") or {})
    form = parsed.get("format") or "parquet"
    if form != "parquet":
        raise MilvusError(
            UNSUPPORTED, f'external_spec format "{form}" is not supported yet, expected "parquet"'
        )


def check_remote(uri: str, spec: str) -> None:
    """Check the place of an exported snapshot; without a spec the environment's credentials are used.

    Raises:
        MilvusError: 1100 or 1101.
    """
    _check_uri(uri)
    if spec:
        _check_extfs(uri, _parsed(spec).get("extfs") or {})


def _check_uri(source: str) -> None:
    where = "external_source is invalid"
    if not source:
        raise invalid(f"{where}: external_source is empty")
    try:
        parts = urlsplit(source)
    except ValueError as error:
        raise invalid(f"{where}: invalid external_source URL: {error}") from error
    scheme = parts.scheme.lower()
    if not scheme or "://" not in source:
        raise invalid(f"{where}: external_source must have an explicit scheme (e.g. s3://, aws://, gs://)")
    if scheme not in _SCHEMES:
        raise invalid(
            f'{where}: external_source scheme "{scheme}" is not allowed; allowed schemes: {", ".join(_SCHEMES)}'
        )
    if "@" in parts.netloc:
        raise invalid(
            f"{where}: external_source must not embed credentials in the URL (use extfs.access_key_id / "
            "extfs.access_key_value instead)"
        )
    if not parts.netloc:
        raise invalid(
            f"{where}: external_source must have a non-empty host (e.g. s3://bucket/key, s3://endpoint/bucket/key, "
            "or minio://endpoint/bucket/key)"
        )


def _parsed(spec: str) -> Mapping[str, Any]:
    where = "external_spec is invalid: parse external spec"
    if not spec:
        return {}
    try:
        parsed = json.loads(spec)
    except ValueError as error:
        raise invalid(f"{where}: invalid external spec JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise invalid(f"{where}: invalid external spec JSON: expected an object, got {type(parsed).__name__}")
    form = parsed.get("format") or "parquet"
    if form not in _FORMATS:
        raise invalid(f'{where}: unsupported format "{form}", supported formats: {", ".join(_FORMATS)}')
    extfs = parsed.get("extfs") or {}
    if not isinstance(extfs, dict):
        raise invalid(f"{where}: invalid external spec JSON: extfs must be an object")
    for key, value in extfs.items():
        if key not in _KEYS:
            raise invalid(f'{where}: extfs key "{key}" is not allowed; allowed keys: {", ".join(_KEYS)}')
        if not isinstance(value, str):
            raise invalid(f'{where}: invalid external spec JSON: extfs key "{key}" must be a string')
        if key in _TRUTHS and value not in ("true", "false"):
            raise invalid(f'{where}: extfs key "{key}" must be "true" or "false", got "{value}"')
    for key in parsed:
        if key not in ("format", "columns", "snapshot_id", "extfs"):
            raise invalid(f'{where}: key "{key}" is not supported')
    if parsed.get("columns") or parsed.get("snapshot_id") not in (None, ""):
        raise invalid(f"{where}: columns and snapshot_id have no effect on parquet files; leave them out")
    return parsed


def _check_extfs(source: str, extfs: Mapping[str, str]) -> None:
    where = "external_spec is invalid"
    scheme = urlsplit(source).scheme.lower()
    provider = _provider(scheme, extfs)
    _check_credentials(extfs, provider, scheme)
    if scheme in _SIGNED_SCHEMES and not extfs.get("region"):
        raise missing(
            f'{where}: extfs.region is required for scheme "{scheme}" (AWS-family schemes need region for SigV4 '
            "signing)"
        )
    if scheme == "azure" and provider != "azure":
        raise invalid(f'{where}: scheme=azure requires extfs.cloud_provider="azure", got "{provider}"')
    if provider == "azure" and scheme != "azure":
        raise invalid(f'{where}: extfs.cloud_provider=azure requires scheme=azure, got scheme="{scheme}"')
    parts = urlsplit(source)
    segments = [one for one in parts.path.split("/") if one]
    if parts.netloc.lower().endswith(CLOUD_HOSTS) or len(segments) > 1:
        return
    if not derived_endpoint(provider, extfs.get("region", "")):
        raise invalid(
            f'{where}: cannot resolve endpoint for "{source}" with cloud_provider="{provider}": set extfs.region, or '
            "use Milvus-form URI scheme://<endpoint>/<bucket>/<key>"
        )


def _provider(scheme: str, extfs: Mapping[str, str]) -> str:
    where = "external_spec is invalid"
    given = extfs.get("cloud_provider", "")
    if given != given.lower():
        raise invalid(
            f'{where}: extfs.cloud_provider="{given}" must use the canonical lowercase value "{given.lower()}"'
        )
    provider = given or ("minio" if scheme == "minio" else "")
    names = ", ".join(_PROVIDERS)
    if not provider:
        raise missing(
            f"{where}: extfs.cloud_provider is required: one of [{names}]; inferring from URI scheme is ambiguous "
            "(e.g. s3:// matches both AWS S3 and self-hosted MinIO)"
        )
    if provider not in _PROVIDERS:
        raise invalid(
            f'{where}: extfs.cloud_provider="{provider}" is not supported: must be one of [{names}]'
        )
    if scheme == "minio" and provider != "minio":
        raise invalid(f'{where}: scheme=minio requires extfs.cloud_provider="minio", got "{provider}"')
    return provider


def _check_credentials(extfs: Mapping[str, str], provider: str, scheme: str) -> None:
    where = "external_spec is invalid"
    key, secret = bool(extfs.get("access_key_id")), bool(extfs.get("access_key_value"))
    broker = any(extfs.get(name) for name in _AZURE)
    if key != secret and not broker:
        raise missing(
            f"{where}: extfs.access_key_id and extfs.access_key_value must be set together (found one without the "
            "other)"
        )
    role = bool(extfs.get("role_arn"))
    modes = (
        key and secret,
        role,
        extfs.get("use_iam") == "true" and not role,
        bool(extfs.get("gcp_target_service_account")),
        broker,
        extfs.get("anonymous") == "true",
    )
    if not any(modes):
        raise invalid(
            f"{where}: extfs credential mode missing: set exactly one of {{access_key_id+access_key_value}}, role_arn, "
            "use_iam=true, gcp_target_service_account, Azure credential broker, or anonymous=true"
        )
    if sum(modes) > 1:
        raise invalid(f"{where}: extfs credential modes are mutually exclusive: set exactly one of {_MODES}")
    if role or broker or extfs.get("gcp_target_service_account") or extfs.get("ssl_ca_cert"):
        raise MilvusError(
            UNSUPPORTED,
            f"{where}: role_arn, gcp_target_service_account, credential brokers and ssl_ca_cert are not supported, "
            "use access keys, use_iam or anonymous",
        )
