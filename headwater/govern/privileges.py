"""The privileges there are: what kind of thing each is about, and the built-in groups.

Names are Milvus's (`ObjectPrivilege` of its protocol, without the prefix). A grant of a privilege about Collections
may be for one collection; one about Global or User things is for a whole database or, when it is about the cluster,
for the lake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

__all__ = [
    "ANY",
    "BUILTIN_GROUPS",
    "OBJECT_TYPES",
    "PRIVILEGES",
    "ObjectType",
    "expanded",
    "is_defined",
    "level_of",
    "object_type_of",
]

ANY = "*"
"""Stands for every database, object or privilege."""

ObjectType = Literal["Collection", "Global", "User"]
OBJECT_TYPES: tuple[ObjectType, ...] = ("Collection", "Global", "User")

_COLLECTION = (
    "Load Release Compaction Insert Delete Upsert GetStatistics CreateIndex IndexDetail DropIndex Search Flush Query "
    "LoadBalance Import GetLoadingProgress GetLoadState CreatePartition DropPartition ShowPartitions HasPartition "
    "GetFlushState AddCollectionField AlterCollectionSchema CreateSnapshot DropSnapshot DescribeSnapshot "
    "ListSnapshots RestoreSnapshot RefreshExternalCollection"
)
_GLOBAL = (
    "All CreateCollection DropCollection DescribeCollection ShowCollections RenameCollection CreateOwnership "
    "DropOwnership SelectOwnership ManageOwnership BackupRBAC RestoreRBAC CreateResourceGroup UpdateResourceGroups "
    "DropResourceGroup DescribeResourceGroup ListResourceGroups TransferReplica TransferNode FlushAll CreateDatabase "
    "DropDatabase ListDatabases AlterDatabase DescribeDatabase CreateAlias DropAlias DescribeAlias ListAliases "
    "CreatePrivilegeGroup DropPrivilegeGroup ListPrivilegeGroups OperatePrivilegeGroup GetImportProgress ListImport "
    "AddFileResource RemoveFileResource ListFileResources UpdateReplicateConfiguration GetReplicateConfiguration "
    "PinSnapshotData UnpinSnapshotData RestoreExternalSnapshot ExportSnapshot"
)
_USER = "UpdateUser SelectUser"

PRIVILEGES: Mapping[str, ObjectType] = {
    **dict.fromkeys(_COLLECTION.split(), "Collection"),
    **dict.fromkeys(_GLOBAL.split(), "Global"),
    **dict.fromkeys(_USER.split(), "User"),
}
"""Every privilege, and what kind of thing it is about."""

_COLLECTION_READ_ONLY = [
    "Query",
    "Search",
    "IndexDetail",
    "GetFlushState",
    "GetLoadState",
    "GetLoadingProgress",
    "HasPartition",
    "ShowPartitions",
    "DescribeCollection",
    "DescribeAlias",
    "GetStatistics",
    "ListAliases",
    "ListSnapshots",
    "DescribeSnapshot",
]
_COLLECTION_READ_WRITE = (
    *_COLLECTION_READ_ONLY,
    *[
        "Load",
        "Release",
        "Insert",
        "Delete",
        "Upsert",
        "Import",
        "Flush",
        "Compaction",
        "LoadBalance",
        "CreateIndex",
        "DropIndex",
    ],
    *[
        "CreatePartition",
        "DropPartition",
        "AddCollectionField",
        "AlterCollectionSchema",
        "RefreshExternalCollection",
    ],
)
_COLLECTION_ADMIN = (
    *_COLLECTION_READ_WRITE,
    *["CreateAlias", "DropAlias", "CreateSnapshot", "DropSnapshot", "RestoreSnapshot"],
)
_DATABASE_READ_ONLY = ["ShowCollections", "DescribeDatabase"]
_DATABASE_READ_WRITE = (*_DATABASE_READ_ONLY, "AlterDatabase")
_DATABASE_ADMIN = (*_DATABASE_READ_WRITE, "CreateCollection", "DropCollection", "RenameCollection")
_CLUSTER_READ_ONLY = [
    "ListDatabases",
    "SelectOwnership",
    "SelectUser",
    "DescribeResourceGroup",
    "ListResourceGroups",
    "ListPrivilegeGroups",
    "ListFileResources",
    "GetReplicateConfiguration",
]
_CLUSTER_READ_WRITE = (
    *_CLUSTER_READ_ONLY,
    *[
        "FlushAll",
        "TransferNode",
        "TransferReplica",
        "UpdateResourceGroups",
        "AddFileResource",
        "RemoveFileResource",
    ],
)
_CLUSTER_ADMIN = (
    *_CLUSTER_READ_WRITE,
    *[
        "BackupRBAC",
        "RestoreRBAC",
        "CreateDatabase",
        "DropDatabase",
        "CreateOwnership",
        "DropOwnership",
        "ManageOwnership",
    ],
    *["CreateResourceGroup", "DropResourceGroup", "UpdateUser", "CreatePrivilegeGroup", "DropPrivilegeGroup"],
    *["OperatePrivilegeGroup", "UpdateReplicateConfiguration", "PinSnapshotData", "UnpinSnapshotData"],
    *["RestoreExternalSnapshot", "ExportSnapshot"],
)

BUILTIN_GROUPS: Mapping[str, tuple[str, ...]] = {
    "ClusterReadOnly": tuple(_CLUSTER_READ_ONLY),
    "ClusterReadWrite": _CLUSTER_READ_WRITE,
    "ClusterAdmin": _CLUSTER_ADMIN,
    "DatabaseReadOnly": tuple(_DATABASE_READ_ONLY),
    "DatabaseReadWrite": _DATABASE_READ_WRITE,
    "DatabaseAdmin": _DATABASE_ADMIN,
    "CollectionReadOnly": tuple(_COLLECTION_READ_ONLY),
    "CollectionReadWrite": _COLLECTION_READ_WRITE,
    "CollectionAdmin": _COLLECTION_ADMIN,
}
"""The privilege groups that are always there, and cannot be changed."""

_LEVELS: Mapping[str, str] = {
    **dict.fromkeys(_COLLECTION_ADMIN, "Collection"),
    **dict.fromkeys(_DATABASE_ADMIN, "Database"),
    **dict.fromkeys(_CLUSTER_ADMIN, "Cluster"),
}


_RELATED: Mapping[str, tuple[str, ...]] = {
    "Load": ("GetLoadState", "GetLoadingProgress"),
    "Flush": ("GetFlushState",),
}
"""Who may do something may ask whether it is done."""


def level_of(privilege: str) -> str:
    """Whether a privilege is about the Cluster, a Database or a Collection; empty where a group may not hold it."""
    return _LEVELS.get(privilege, "")


def is_defined(name: str) -> bool:
    """Whether a name is that of a privilege or of a built-in group."""
    return name in PRIVILEGES or name in BUILTIN_GROUPS


def object_type_of(name: str) -> ObjectType:
    """What kind of thing a grant of a privilege is about; groups are about Global things, as in Milvus."""
    return PRIVILEGES.get(name, "Global")


def expanded(name: str, custom: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """The privileges behind a name: itself, or the members of a group and of the groups in it, and what goes with them.

    Args:
        name: of a privilege or a group.
        custom: the groups that users made.
    """
    found: set[str] = set()
    seen: set[str] = set()
    todo = [name]
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        members = BUILTIN_GROUPS.get(one, custom.get(one))
        if members is None:
            found.update((one, *_RELATED.get(one, ())))
        else:
            todo.extend(members)
    return frozenset(found)
