"""A caller, and the decision whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import msgspec

from picloud.access.capabilities import GRANTS, Capability
from picloud.access.roles import AppRole, InstanceRole
from picloud.access.scopes import ALL_SCOPES, Scope, with_included
from picloud.errors import NotFoundError, PermissionDeniedError


class Principal(msgspec.Struct, frozen=True):
    """Somebody or something that acts."""

    id: int
    kind: Literal["user", "service", "app"]
    name: str
    role: InstanceRole

    @property
    def is_admin(self) -> bool:
        """Whether it is admin or owner of the installation, and so admin of every app."""
        return self.role.includes(InstanceRole.ADMIN)


class Membership(msgspec.Struct, frozen=True):
    """What a principal is in one app."""

    app_id: int
    role: AppRole


@dataclass(frozen=True)
class Caller:
    """Who presented a credential, and what that credential is limited to.

    Attributes:
        memberships: by the app's name.
        scopes: of the key; a session has all.
        app: the one app the key is for; None: it is bound to none. ``app_id`` is its id.
        key_id: of the key; None: a session. ``session_id``: of the session.
        credential: how logs and the audit log name it: ``session``, or ``key …wxyz``.
        expires_in_seconds: of the credential, when it was looked up; None: never.
        revision: of all that is known of credentials, when it was looked up: decisions are valid while it is that.
    """

    principal: Principal
    memberships: Mapping[str, Membership] = field(default_factory=dict[str, Membership])
    scopes: frozenset[Scope] = ALL_SCOPES
    app: str | None = None
    app_id: int | None = None
    key_id: int | None = None
    session_id: int | None = None
    credential: str = "session"
    expires_in_seconds: float | None = None
    revision: int = 0

    @cached_property
    def effective_scopes(self) -> frozenset[Scope]:
        """The scopes with all that they include."""
        return with_included(self.scopes)

    def may(self, capability: Capability, app: str | None = None) -> bool:
        """The decision: do both the role and the credential allow it?

        Args:
            app: the name of the app it is about, for an ``App…`` capability.
        """
        role = GRANTS[capability].role
        if not self._scopes_allow(capability):
            return False
        if isinstance(role, InstanceRole):
            # A key of one app has no business outside it, except with itself and keys like it.
            is_inside = self.app is None or capability in {Capability.SELF, Capability.SELF_MANAGE_KEYS}
            return is_inside and self.principal.role.includes(role)
        own = self.role_in(app)
        return own is not None and own.includes(role)

    def role_in(self, app: str | None) -> AppRole | None:
        """What the caller is in an app; None: nothing, or its key is for another app."""
        if app is None or (self.app is not None and self.app != app):
            return None
        if self.principal.is_admin:
            return AppRole.ADMIN
        membership = self.memberships.get(app)
        return None if membership is None else membership.role

    def sight(self, capability: Capability) -> list[int] | None:
        """The ids of the apps in which the caller may; None: in all there are, and will be."""
        if not self._scopes_allow(capability):
            return []
        if self.principal.is_admin:
            return None if self.app_id is None else [self.app_id]
        return [each.app_id for name, each in self.memberships.items() if self.may(capability, name)]

    def require(self, capability: Capability, app: str | None = None) -> None:
        """Refuse what the caller may not do.

        Args:
            app: as for ``may``; None with an ``App…`` capability: in any app, and what is seen is limited by ``sight``.

        Raises:
            NotFoundError: the app is none the caller knows of; the words are those for an app that does not exist.
            PermissionDeniedError: says what is missing.
        """
        grant = GRANTS[capability]
        is_of_app = isinstance(grant.role, AppRole)
        if is_of_app and app is not None and self.role_in(app) is None:
            raise no_such_app(app)
        if not self._scopes_allow(capability):
            wanted = " or ".join(sorted(grant.scopes))
            raise PermissionDeniedError(
                f"this key may not: {capability} needs the scope {wanted}",
                hint="`picloud keys create --scope` makes one",
            )
        if is_of_app and app is None:
            return
        if not self.may(capability, app):
            raise PermissionDeniedError(
                f"{self.principal.name} may not: {capability} needs the role {grant.role} of the "
                + ("app" if is_of_app else "installation, with a key that is for no single app")
            )

    def _scopes_allow(self, capability: Capability) -> bool:
        wanted = GRANTS[capability].scopes
        return not wanted or not wanted.isdisjoint(self.effective_scopes)


def no_such_app(name: str) -> NotFoundError:
    """The one answer for an app that does not exist and for one that is not the caller's to know of."""
    return NotFoundError(f"there is no app {name!r}", hint="`picloud apps ls` lists them")
