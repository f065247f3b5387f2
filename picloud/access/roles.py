"""Roles, from the one that may least to the one that may most; each may all that those before it may."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class _Role(StrEnum):
    """A role; their order is the order in which they are written."""

    @property
    def rank(self) -> int:
        return list(type(self)).index(self)

    def includes(self, other: Self) -> bool:
        """Whether this role may all that ``other`` may."""
        return self.rank >= other.rank


class InstanceRole(_Role):
    """What a principal is in the whole installation.

    A member sees the apps it is a member of. An admin may do everything in every app and manages members; an owner may
    besides make admins and owners, and end them.
    """

    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    def manages(self, other: InstanceRole) -> bool:
        """Whether somebody of this role changes people of the other, and their keys: an admin members, an owner all."""
        return self is InstanceRole.OWNER or (self is InstanceRole.ADMIN and other is InstanceRole.MEMBER)


class AppRole(_Role):
    """What a member is in one app: a viewer looks, an editor changes what runs, an admin decides who may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
