"""Who may do what: users, roles, privileges, audit. Values go in and out; no room below asks.

`known` keeps the policy in the lake, `rights` works out what it allows, `access` is where both are asked. `users`,
`roles`, `groups` and `credentials` change it; `members` and `grants` are the rules of those changes, `privileges`
lists what there is to grant.
"""

from headwater.govern.access import Access
from headwater.govern.audit import AuditFile, AuditRecord, audit_file
from headwater.govern.grants import Asked
from headwater.govern.known import ACCESS_FOLDER
from headwater.govern.named import Collections
from headwater.govern.policy import ADMIN, PUBLIC, ROOT, Grant, Policy, Role, Token, User
from headwater.govern.privileges import ANY, BUILTIN_GROUPS, PRIVILEGES, level_of
from headwater.govern.resources import DEFAULT_GROUP, NUM_NODES, GroupConfig, ResourceGroups

__all__ = [
    "ACCESS_FOLDER",
    "ADMIN",
    "ANY",
    "BUILTIN_GROUPS",
    "DEFAULT_GROUP",
    "NUM_NODES",
    "PRIVILEGES",
    "PUBLIC",
    "ROOT",
    "Access",
    "Asked",
    "AuditFile",
    "AuditRecord",
    "Collections",
    "Grant",
    "GroupConfig",
    "Policy",
    "ResourceGroups",
    "Role",
    "Token",
    "User",
    "audit_file",
    "level_of",
]
