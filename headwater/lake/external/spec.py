"""Sources as Milvus names them - a URI and a JSON `external_spec` - as URLs and options of our stores.

A URI has one of two forms: ``scheme://bucket/key``, or ``scheme://endpoint/bucket/key``, where the host is a cloud's
endpoint, has a port, or the spec says `cloud_provider: minio`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.lake.manifest import ExternalSource

__all__ = [
    "CLOUD_HOSTS",
    "SECRET_OPTIONS",
    "SOURCE_PROPERTY",
    "SPEC_PROPERTY",
    "derived_endpoint",
    "source_of",
    "spec_options",
    "without_secrets",
]

SOURCE_PROPERTY = "_external_source"
"""Property of a manifest that keeps the URI of its source, as it was given."""

SPEC_PROPERTY = "_external_spec"
"""Property of a manifest that keeps the spec of its source; with it any server can open the source."""

SECRET_OPTIONS = ("access_key_id", "access_key_value", "ssl_ca_cert", "external_id")
"""Options of `extfs` that nobody is shown."""

CLOUD_HOSTS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".googleapis.com",
    ".aliyuncs.com",
    ".myqcloud.com",
    ".myhuaweicloud.com",
    ".core.windows.net",
    ".core.chinacloudapi.cn",
    ".core.usgovcloudapi.net",
    ".core.cloudapi.de",
)

_AZURE_CLOUDS = (
    ("china", "core.chinacloudapi.cn"),
    ("usgov", "core.usgovcloudapi.net"),
    ("usdod", "core.usgovcloudapi.net"),
    ("germany", "core.cloudapi.de"),
)
_S3_SCHEMES = ("s3", "s3a", "aws", "minio", "oss", "cos", "obs")
_GCS_SCHEMES = ("gs", "gcs")
_GLOB = set("*?[")
_NO_EFFECT = ("bucket_name", "storage_type", "session_name", "load_frequency")
"""Options that say what the URI says already, or tune another program."""


def derived_endpoint(provider: str, region: str) -> str:
    """The endpoint of a cloud in a region; empty where it cannot be told."""
    if provider == "gcp":
        return "https://storage.googleapis.com"
    if not region:
        return ""
    if provider == "aws":
        return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    if provider == "azure":
        near = (host for prefix, host in _AZURE_CLOUDS if region.lower().startswith(prefix))
        return next(near, "core.windows.net")
    hosts = {
        "aliyun": f"https://oss-{region}.aliyuncs.com",
        "tencent": f"https://cos.{region}.myqcloud.com",
        "huawei": f"https://obs.{region}.myhuaweicloud.com",
    }
    return hosts.get(provider, "")


def source_of(uri: str, spec: str) -> ExternalSource:
    """The source of a collection.

    A folder means the files directly in it, as in Milvus; a glob, such as ``s3://bucket/data/**``, means what it says.

    Raises:
        UnsupportedOption: the format or a credential is not supported.
        InvalidArgument: the URI or the spec is malformed.
    """
    form = str(_parsed(spec).get("format") or "parquet")
    if form != "parquet":
        raise UnsupportedOption(f"format {form!r} of an external source is not supported, expected 'parquet'")
    url, _ = spec_options(uri, spec)
    if not (_GLOB & set(url) or url.endswith((".parquet", ".pq"))):
        url = f"{url.rstrip('/')}/*.parquet"
    return ExternalSource(urls=(url,))


def spec_options(uri: str, spec: str) -> tuple[str, dict[str, Any]]:
    """The URL and the store options of a URI and a spec; an empty spec adds no option.

    Raises:
        UnsupportedOption: a scheme or a credential is not supported.
        InvalidArgument: the spec is malformed.
    """
    given: Mapping[str, Any] = _parsed(spec).get("extfs") or {}
    if not given:
        return uri, {}
    extfs = {str(key): str(value) for key, value in given.items() if key not in _NO_EFFECT}
    for name in ("role_arn", "external_id", "gcp_target_service_account", "azure_client_id", "ssl_ca_cert"):
        if extfs.get(name):
            raise UnsupportedOption(
                f"extfs.{name} is not supported",
                hint="use access_key_id and access_key_value, use_iam or anonymous",
            )
    parts = urlsplit(uri)
    scheme, host = parts.scheme.lower(), parts.netloc
    provider = extfs.get("cloud_provider") or ("minio" if scheme == "minio" else "")
    path = parts.path.strip("/")
    endpoint = ""
    if provider == "minio" or ":" in host or host.lower().endswith(CLOUD_HOSTS):
        secure = extfs.get("use_ssl") == "true" or host.lower().endswith(CLOUD_HOSTS)
        endpoint = f"{'https' if secure else 'http'}://{host}"
        host, _, path = path.partition("/")
    elif provider != "aws":
        endpoint = derived_endpoint(provider, extfs.get("region", ""))
    tail = f"{host}/{path}".rstrip("/")
    if scheme == "azure":
        return f"az://{tail}", _azure(extfs, endpoint)
    if scheme in _GCS_SCHEMES and not extfs.get("access_key_id"):
        return f"gs://{tail}", {"skip_signature": "true"} if extfs.get("anonymous") == "true" else {}
    if scheme not in (*_S3_SCHEMES, *_GCS_SCHEMES):
        raise UnsupportedOption(f"external source {uri!r}: scheme {scheme!r} is not supported")
    return f"s3://{tail}", _s3(extfs, endpoint, host)


def _s3(extfs: Mapping[str, str], endpoint: str, bucket: str) -> dict[str, Any]:
    options: dict[str, Any] = {"region": extfs.get("region") or "us-east-1"}
    if endpoint:
        options["endpoint"] = endpoint
    if extfs.get("use_virtual_host") == "true":
        options["virtual_hosted_style_request"] = "true"
        if endpoint:
            options["endpoint"] = endpoint.replace("://", f"://{bucket}.", 1)
    if extfs.get("anonymous") == "true":
        options["skip_signature"] = "true"
    if extfs.get("access_key_id"):
        options["access_key_id"] = extfs["access_key_id"]
        options["secret_access_key"] = extfs.get("access_key_value", "")
    return options


def _azure(extfs: Mapping[str, str], endpoint: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if extfs.get("access_key_id"):
        options["account_name"] = extfs["access_key_id"]
        options["account_key"] = extfs.get("access_key_value", "")
    host = endpoint.rsplit("/", 1)[-1]
    if host and host != "core.windows.net" and options:
        options["endpoint"] = f"https://{options['account_name']}.blob.{host}"
    if extfs.get("anonymous") == "true":
        options["skip_signature"] = "true"
    return options


def without_secrets(spec: str) -> str:
    """A spec with its secrets struck out, for people and records."""
    if not spec:
        return ""
    parsed = dict(_parsed(spec))
    extfs = parsed.get("extfs")
    if isinstance(extfs, dict):
        kept = {key: "***" if key in SECRET_OPTIONS and value else value for key, value in extfs.items()}
        parsed["extfs"] = kept
    return json.dumps(parsed, separators=(",", ":"))


def _parsed(spec: str) -> Mapping[str, Any]:
    if not spec:
        return {}
    try:
        parsed = json.loads(spec)
    except ValueError as error:
        raise InvalidArgument(f"external spec is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise InvalidArgument(f"external spec must be a JSON object, got {type(parsed).__name__}")
    return parsed
