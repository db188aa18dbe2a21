"""The door's guard: who calls, and may they? The same whichever way a call came.

What a call needs is in the protocol itself: the option `privilege_ext_obj` of a request's message says the privilege,
the kind of thing it is about, and in which field of the request that thing's name is. The few calls without it need
only somebody who has shown who he is.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import NamedTuple

import grpc
from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import (
    NO_CREDENTIAL,
    PRIVILEGE_DENIED,
    TOO_MANY_REQUESTS,
    Code,
    MilvusError,
    collection_not_found,
)
from headwater.govern import ANY, ROOT, Access, level_of
from headwater.settings import AccessSettings

__all__ = [
    "NEEDS",
    "Guard",
    "Need",
    "Refused",
    "busy",
    "collections_of",
    "credential_of",
    "database_of",
    "too_many_failed",
    "user_of",
]

_PREFIX = "Privilege"
_NAMES = ("collection_name", "collectionName", "oldName", "collection_names")
_ELSEWHERE = {"RenameCollection": "newDBName", "RestoreSnapshot": "target_db_name"}
"""Calls that may make a collection in another database: then the privilege must hold everywhere."""


_MOVES_NAMES = frozenset(
    (
        *("CreateCollection", "DropCollection", "RenameCollection", "CreateAlias", "DropAlias", "AlterAlias"),
        *("CreateDatabase", "DropDatabase", "RestoreSnapshot", "RestoreExternalSnapshot"),
    )
)


class Refused(MilvusError):
    """A call that is not let in. The one failure that is gRPC's own: clients must not retry it.

    Args:
        status: gRPC's status.
        code: Milvus's number, for doors that have no status of their own.
        detail: what the caller is told, in Milvus's words.
    """

    def __init__(self, status: grpc.StatusCode, code: Code, detail: str) -> None:
        super().__init__(code, detail)
        self.status = status
        self.detail = detail


class Need(NamedTuple):
    """What a call asks of its caller.

    Attributes:
        privilege: its name.
        object_type: Collection, Global or User.
        field: of the request, that names the thing; None where it is about all of them.
    """

    privilege: str
    object_type: str
    field: str | None


def _needs() -> dict[str, Need]:
    found = {}
    for method in milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods:
        options = method.input_type.GetOptions()
        if not options.HasExtension(common_pb2.privilege_ext_obj):
            continue
        said = options.Extensions[common_pb2.privilege_ext_obj]
        number = said.object_name_index if said.object_name_index > 0 else said.object_name_indexs
        field = method.input_type.fields_by_number[number].name if number > 0 else None
        privilege = common_pb2.ObjectPrivilege.Name(said.object_privilege).removeprefix(_PREFIX)
        found[method.name] = Need(privilege, common_pb2.ObjectType.Name(said.object_type), field)
    # Streams carry no request to read the option from; both reach under everything else.
    found["CreateReplicateStream"] = Need("UpdateReplicateConfiguration", "Global", None)
    found["ReplicateMessage"] = Need("UpdateReplicateConfiguration", "Global", None)
    found["DumpMessages"] = Need("ManageOwnership", "Global", None)
    return found


NEEDS: Mapping[str, Need] = _needs()
"""What each call asks of its caller; one that is not here asks only for a name."""

_WRONG_PASSWORD = "auth check failure, please check username and password are correct"  # noqa: S105
_WRONG_TOKEN = "auth check failure, please check api key is correct"  # noqa: S105


class Guard:
    """Lets calls in, or not.

    Args:
        access: users and what they may do.
        settings: whether anyone needs to say who he is.
    """

    def __init__(self, access: Access, settings: AccessSettings) -> None:
        self._access = access
        self.on = settings.authorization

    def known(self, metadata: Mapping[str, str]) -> str | None:
        """Who calls, where that can be said at once; None when the credential, or the policy, must be looked at.

        Raises:
            MilvusError: there is no credential, or it cannot be read.
        """
        if not self.on:
            return ""
        return self._access.credentials.remembered(credential_of(metadata))

    def start(self) -> None:
        """Make the first users where there are none, if anyone is to say who he is."""
        if self.on:
            self._access.known.start()

    @property
    def fresh(self) -> bool:
        """Whether what is known of the users is young enough to decide by."""
        return not self.on or self._access.known.fresh

    @property
    def due(self) -> bool:
        """Whether it is time to look at the users again, while what is known may still be used."""
        return self.on and self._access.known.due

    def refresh(self) -> None:
        """Look at the users again.

        Raises:
            StoreUnavailable: the store has not answered for a while.
        """
        self._access.known.refresh()

    def authenticate(self, metadata: Mapping[str, str]) -> str:
        """Who calls. Takes a while.

        Raises:
            MilvusError: the password, or the token, is wrong.
        """
        credential = credential_of(metadata)
        self._access.look_again()
        user = self._access.credentials.authenticate(credential)
        if user is None:
            raise _unauthenticated(_WRONG_PASSWORD if ":" in credential else _WRONG_TOKEN)
        return user

    def authorize(self, name: str, request: Message, user: str, database: str) -> None:
        """Let a user's call pass.

        Args:
            name: of the call.
            request: its message.
            user: who calls.
            database: of the call.

        Raises:
            MilvusError: the user may not; or there is no such collection.
        """
        need = NEEDS.get(name)
        if not self.on or need is None or user == ROOT:
            return
        places = (database,)
        elsewhere = _ELSEWHERE.get(name)
        target = getattr(request, elsewhere) if elsewhere is not None else ""
        if target and target != database:
            places = (ANY,)
        if level_of(need.privilege) == "Cluster":
            places = (ANY,)
        may = self._may(need, request, user, places[0])
        if not may and self._access.look_again():
            may = self._may(need, request, user, places[0])
        if not may:
            self._check_there(need, request, user, places[0])
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                PRIVILEGE_DENIED,
                f"{_PREFIX}{need.privilege}: permission deny to {user} in the `{places[0]}` database",
            )
        if need.privilege == "DescribeCollection":
            self._check_visible(request, user, database)

    def _may(self, need: Need, request: Message, user: str, database: str) -> bool:
        names = _names_in(request, need.field)
        if need.object_type == "User":
            # Everyone may look at himself and change his own password.
            return user in names or self._access.known.rights.permits(user, need.privilege, database, names)
        if isinstance(request, milvus_pb2.SelectGrantRequest):
            role = request.entity.role.name
            if role in self._access.known.rights.roles_of(user):
                return True
        return self._access.permits(user, need.privilege, database, names)

    def _check_there(self, need: Need, request: Message, user: str, database: str) -> None:
        """Tell who may do this to other collections that there is none of this name."""
        if need.object_type != "Collection" or not self._access.known.rights.holds_any(
            user, need.privilege, database
        ):
            return
        for name in _names_in(request, need.field):
            if not self._access.exists(database, name):
                raise collection_not_found(database, name)

    def _check_visible(self, request: Message, user: str, database: str) -> None:
        if self._access.known.rights.sees_all(user, database):
            return
        for name in _names_in(request, "collection_name") or [""]:
            # That there is none of a name is for the call itself to say.
            hidden = not name or self._access.exists(database, name)
            if hidden and not self._access.sees(user, database, name):
                raise MilvusError(
                    PRIVILEGE_DENIED,
                    f"not allowed to access collection, collection name: {name}, permission deny to {user}",
                )

    def shown(self, name: str, response: Message, user: str, database: str) -> Message:
        """An answer without what a user does not get to see: databases and collections without a grant for them."""
        if name in _MOVES_NAMES:
            self._access.forget_names()
        if not self.on:
            return response
        if name == "ListDatabases":
            seen = self._access.known.rights.databases(user)
            if seen is not None:
                _keep(response, [one in seen for one in response.db_names])
        elif name == "ShowCollections":
            listed = list(response.collection_names)
            kept = set(self._access.visible(user, database, listed))
            if len(kept) < len(listed):
                _keep(response, [one in kept for one in listed])
        return response


def credential_of(metadata: Mapping[str, str]) -> str:
    """What a call says about its caller: `user:password`, or a token.

    Raises:
        MilvusError: it says nothing, or nothing that can be read.
    """
    said = metadata.get("authorization")
    if not said:
        raise _unauthenticated("missing authorization in header")
    if said.startswith("Bearer "):
        return said.removeprefix("Bearer ").strip()
    try:
        return base64.b64decode(said.removeprefix("Basic ").strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise _unauthenticated("invalid token format") from None


def collections_of(request: Message) -> str:
    """The collections that a request names, with commas; for the audit."""
    for field in _NAMES:
        if field in request.DESCRIPTOR.fields_by_name:
            return ",".join(_names_in(request, field))
    return ""


def database_of(request: Message, metadata: Mapping[str, str]) -> str:
    """The database that a call is about."""
    return getattr(request, "db_name", "") or metadata.get("dbname") or "default"


def _names_in(request: Message, field: str | None) -> list[str]:
    if field is None:
        return []
    value = getattr(request, field)
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, Message):
        return [value.name]
    return list(value)


def _keep(response: Message, kept: list[bool]) -> None:
    """Leave out entries of all of a response's lists that run in parallel."""
    for field, value in response.ListFields():
        if hasattr(value, "extend") and len(value) == len(kept):
            left = [one for one, keep in zip(value, kept, strict=True) if keep]
            response.ClearField(field.name)
            getattr(response, field.name).extend(left)


def user_of(credential: str) -> str:
    """Whom a credential names; empty for a token."""
    return credential.split(":", 1)[0] if ":" in credential else ""


def too_many_failed(user: str, address: str, wait_s: float) -> Refused:
    """What who has failed to log in too often is told."""
    who = f"of user {user}" if user else "with a token"
    return Refused(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        TOO_MANY_REQUESTS,
        f"too many logins {who} from {address or 'this machine'} failed, try again in {math.ceil(wait_s)} s",
    )


def busy() -> Refused:
    """What who comes while too many passwords wait to be checked is told."""
    return Refused(
        grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS, "too many passwords wait to be checked"
    )


def _unauthenticated(detail: str) -> Refused:
    return Refused(grpc.StatusCode.UNAUTHENTICATED, NO_CREDENTIAL, detail)
