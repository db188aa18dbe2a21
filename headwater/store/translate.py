"""Failures of the operating system and of obstore, told as Headwater's errors.

Promise: whatever a backend raises, a caller of this room sees an error of `headwater.errors` that names the
key; the backend's own error is its cause.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions as obstore_errors

from headwater.errors import (
    AlreadyExists,
    HeadwaterError,
    InvalidArgument,
    ObjectNotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreUnavailable,
    Timeout,
)

__all__ = ["local_errors", "remote_errors"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_BAD_NAME = (errno.ENAMETOOLONG, errno.EINVAL)


@contextmanager
def local_errors(verb: str, key: str) -> Iterator[None]:
    """Translate the operating system's errors.

    Args:
        verb: what was tried.
        key: on which object.

    Raises:
        HeadwaterError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise _from_os(error, f"{verb} {key!r}", key, writing=verb in ("put", "create")) from error


def _from_os(error: OSError, what: str, key: str, *, writing: bool) -> HeadwaterError:
    if error.errno in _FULL:
        return QuotaExceeded(
            f"{what}: the disk is full: {error}", hint="free space, then repeat the call", unit="bytes"
        )
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound(f"no object {key!r}: {error}", key=key)
    if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
        if writing:
            return InvalidArgument(
                f"{what}: a file store cannot hold both an object and objects under its name: {error}"
            )
        return ObjectNotFound(f"no object {key!r}: {error}", key=key)
    if error.errno in _REFUSED:
        return PermissionDenied(f"{what}: {error}", key=key)
    if error.errno in _BAD_NAME:
        return InvalidArgument(f"{what}: {error}")
    return StoreUnavailable(f"{what}: {error}", key=key)


@contextmanager
def remote_errors(verb: str, key: str, url: str) -> Iterator[None]:
    """Translate obstore's errors.

    Args:
        verb: what was tried.
        key: on which object.
        url: in which store.

    Raises:
        HeadwaterError: in place of an obstore error, or of the built-in ones that obstore raises.
    """
    try:
        yield
    except HeadwaterError:
        raise
    except FileNotFoundError as error:
        raise ObjectNotFound(f"no object {key!r} in {url}: {_first_line(error)}", key=key) from error
    except obstore_errors.AlreadyExistsError as error:
        raise AlreadyExists(f"object {key!r} exists already in {url}", key=key) from error
    except (obstore_errors.PermissionDeniedError, obstore_errors.UnauthenticatedError) as error:
        raise PermissionDenied(
            f"{verb} {key!r} in {url}: {_first_line(error)}", hint="check the store's credentials", key=key
        ) from error
    except obstore_errors.InvalidPathError as error:
        raise InvalidArgument(f"{verb} {key!r} in {url}: {_first_line(error)}") from error
    except (obstore_errors.BaseError, OSError) as error:
        raise _from_obstore(error, f"{verb} {key!r} in {url}", key) from error


def _from_obstore(error: Exception, what: str, key: str) -> HeadwaterError:
    """The kinds that obstore tells apart only in its text."""
    text = str(error)
    message = f"{what}: {_first_line(error)}"
    if "timed out" in text or "TimedOut" in text or "kind: Timeout" in text:
        return Timeout(message, key=key)
    if "403 Forbidden" in text or "401 Unauthorized" in text:
        return PermissionDenied(message, hint="check the store's credentials", key=key)
    if "NoSuchBucket" in text or "ContainerNotFound" in text:
        return InvalidArgument(message, hint="make the bucket first, or check its name")
    if "incorrectly configured region" in text:
        return InvalidArgument(message, hint="set the option `region` to the bucket's region")
    if "No space left on device" in text:
        return QuotaExceeded(message, hint="free space, then repeat the call", unit="bytes")
    return StoreUnavailable(message, key=key)


def _first_line(error: Exception) -> str:
    return str(error).split("\n\nDebug source:", 1)[0].strip()
