"""The groups of privileges that users made; those that every lake has are `privileges.BUILTIN_GROUPS`."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.govern import grants
from headwater.govern.known import KnownPolicy

__all__ = ["PrivilegeGroups"]


class PrivilegeGroups:
    """Groups of privileges, which are granted as one."""

    def __init__(self, known: KnownPolicy) -> None:
        self._known = known

    def members(self) -> dict[str, tuple[str, ...]]:
        """What each group holds, by its name."""
        return dict(self._known.latest().groups)

    def create(self, name: str) -> None:
        """Add a group, empty at first.

        Raises:
            InvalidArgument: the name cannot be one, or is taken.
        """
        name = grants.checked_group(name)
        self._known.change(lambda now: grants.with_new_group(now, name))

    def drop(self, name: str) -> None:
        """Forget a group; one that is not there, or is built in, is left as it is.

        Raises:
            InvalidArgument: a role was granted it.
        """
        grants.checked_group(name)
        self._known.change(lambda now: grants.without_group(now, name))

    def add(self, name: str, privileges: Sequence[str]) -> None:
        """Add privileges, or other groups, to a group.

        Raises:
            InvalidArgument: there is no such group or privilege, or they are not of one level.
        """
        grants.checked_group(name)
        self._known.change(lambda now: grants.with_members(now, name, privileges))

    def remove(self, name: str, privileges: Sequence[str]) -> None:
        """Take privileges out of a group, which need not hold them.

        Raises:
            InvalidArgument: there is no such group or privilege.
        """
        grants.checked_group(name)
        self._known.change(lambda now: grants.without_members(now, name, privileges))
