"""The list of privileges is the protocol's, and the guard's table is what the protocol says."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.guard import NEEDS
from headwater.govern import BUILTIN_GROUPS, PRIVILEGES, level_of
from headwater.govern.privileges import expanded, is_defined, object_type_of

_NAMES = [name.removeprefix("Privilege") for name, _ in common_pb2.ObjectPrivilege.items()]


def test_every_privilege_of_the_protocol_is_known_and_no_other() -> None:
    groups = {f"Group{name}" for name in (*BUILTIN_GROUPS, "ReadOnly", "ReadWrite", "Admin")}
    assert set(PRIVILEGES) == set(_NAMES) - groups
    assert {name for name in _NAMES if name in groups} == groups


def test_each_is_about_what_the_protocol_says_it_is_about() -> None:
    service = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
    for method in service.methods:
        options = method.input_type.GetOptions()
        if options.HasExtension(common_pb2.privilege_ext_obj) and "RowPolic" not in method.name:
            said = options.Extensions[common_pb2.privilege_ext_obj]
            privilege = common_pb2.ObjectPrivilege.Name(said.object_privilege).removeprefix("Privilege")
            assert PRIVILEGES[privilege] == common_pb2.ObjectType.Name(said.object_type), method.name
            assert NEEDS[method.name].privilege == privilege


@pytest.mark.parametrize(
    ("call", "privilege", "kind", "field"),
    [
        ("Search", "Search", "Collection", "collection_name"),
        ("HybridSearch", "Search", "Collection", "collection_name"),
        ("LoadBalance", "LoadBalance", "Collection", "collectionName"),
        ("GetLoadState", "GetLoadState", "Collection", "collection_name"),
        ("Flush", "Flush", "Collection", "collection_names"),
        ("CreateCollection", "CreateCollection", "Global", None),
        ("UpdateCredential", "UpdateUser", "User", "username"),
        ("SelectUser", "SelectUser", "User", "user"),
        ("CreateSnapshot", "CreateSnapshot", "Collection", "collection_name"),
        ("DumpMessages", "ManageOwnership", "Global", None),
    ],
)
def test_what_calls_need(call: str, privilege: str, kind: str, field: str | None) -> None:
    assert tuple(NEEDS[call]) == (privilege, kind, field)


def test_calls_that_need_only_a_name_are_few() -> None:
    """A call that is new in the protocol must not be open to all unseen."""
    service = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
    free = {method.name for method in service.methods} - set(NEEDS)
    assert free == {
        *("AllocTimestamp", "CalcDistance", "CheckHealth", "ComputePhraseMatchSlop", "Connect", "Dummy"),
        *("DescribePrewarmTask", "DescribeSegmentIndexData", "ListIndexedSegment", "RegisterLink"),
        *("GetCompactionState", "GetCompactionStateWithPlans", "GetComponentStates", "GetFlushAllState"),
        *("GetImportState", "ListImportTasks", "GetMetrics", "GetPersistentSegmentInfo"),
        *("GetRefreshExternalCollectionProgress", "ListRefreshExternalCollectionJobs", "GetReplicateInfo"),
        *("GetReplicas", "GetRestoreSnapshotState", "GetVersion", "HasCollection", "ListDatabases"),
        *("RunAnalyzer", "ShowCollections", "GetQuerySegmentInfo"),
    }


# As the documentation of Milvus lists them; ours may hold more, for privileges that are newer than the list.
_READ = (
    "Query Search IndexDetail GetFlushState GetLoadState GetLoadingProgress HasPartition ShowPartitions "
    "ListAliases DescribeCollection DescribeAlias GetStatistics"
)
_WRITE = (
    f"{_READ} CreateIndex DropIndex CreatePartition DropPartition Load Release Insert Delete Upsert Import Flush "
    "Compaction LoadBalance"
)
_LOOK = (
    "ListDatabases SelectOwnership SelectUser DescribeResourceGroup ListResourceGroups ListPrivilegeGroups"
)
_MOVE = f"{_LOOK} FlushAll TransferNode TransferReplica UpdateResourceGroups"
_DOCUMENTED = {
    "CollectionReadOnly": _READ,
    "CollectionReadWrite": _WRITE,
    "CollectionAdmin": f"{_WRITE} CreateAlias DropAlias",
    "DatabaseReadOnly": "ShowCollections DescribeDatabase",
    "DatabaseReadWrite": "ShowCollections DescribeDatabase AlterDatabase",
    "DatabaseAdmin": "ShowCollections DescribeDatabase AlterDatabase CreateCollection DropCollection",
    "ClusterReadOnly": _LOOK,
    "ClusterReadWrite": _MOVE,
    "ClusterAdmin": f"{_MOVE} BackupRBAC RestoreRBAC CreateDatabase DropDatabase CreateOwnership DropOwnership "
    "ManageOwnership CreateResourceGroup DropResourceGroup UpdateUser CreatePrivilegeGroup DropPrivilegeGroup "
    "OperatePrivilegeGroup",
}
_NEWER = {
    *("ListSnapshots", "DescribeSnapshot", "CreateSnapshot", "DropSnapshot", "RestoreSnapshot"),
    *("AddCollectionField", "AlterCollectionSchema", "RefreshExternalCollection", "RenameCollection"),
    *("ListFileResources", "AddFileResource", "RemoveFileResource", "GetReplicateConfiguration"),
    *("UpdateReplicateConfiguration", "PinSnapshotData", "UnpinSnapshotData", "ExportSnapshot"),
    "RestoreExternalSnapshot",
}


@pytest.mark.parametrize("group", BUILTIN_GROUPS)
def test_a_built_in_group_holds_what_is_documented(group: str) -> None:
    documented, held = set(_DOCUMENTED[group].split()), BUILTIN_GROUPS[group]
    assert documented <= set(held)
    assert set(held) - documented <= _NEWER
    assert all(group.startswith(level_of(one)) and level_of(one) for one in held)
    assert len(held) == len(set(held))


def test_groups_are_expanded_through_groups_and_circles() -> None:
    custom = {"mine": ("Search", "other"), "other": ("Query", "mine", "DatabaseReadOnly"), "empty": ()}
    assert expanded("mine", custom) == {"Search", "Query", "ShowCollections", "DescribeDatabase"}
    assert expanded("Search", custom) == {"Search"}
    assert expanded("empty", custom) == frozenset()
    assert is_defined("Search")
    assert is_defined("ClusterAdmin")
    assert not is_defined("mine")
    assert object_type_of("ClusterAdmin") == "Global"
    assert object_type_of("Search") == "Collection"
