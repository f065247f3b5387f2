"""The decision: a role and a scope must both allow it, in the app it is about, and more of either never allows less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.access import (
    ALL_SCOPES,
    GRANTS,
    AppRole,
    Caller,
    Capability,
    InstanceRole,
    Membership,
    Principal,
    Scope,
)
from picloud.errors import NotFoundError, PermissionDeniedError

_APPS = ("shop", "blog", "lab")

scopes = st.frozensets(st.sampled_from(Scope))
capabilities = st.sampled_from(Capability)
apps = st.sampled_from(_APPS)


@st.composite
def callers(draw: st.DrawFn) -> Caller:
    roles = draw(st.dictionaries(apps, st.sampled_from(AppRole)))
    bound = draw(st.none() | apps)
    return Caller(
        Principal(7, "user", "anna", draw(st.sampled_from(InstanceRole))),
        memberships={name: Membership(_APPS.index(name), role) for name, role in roles.items()},
        scopes=draw(scopes),
        app=bound,
        app_id=None if bound is None else _APPS.index(bound),
    )


def _caller(role: InstanceRole = InstanceRole.MEMBER, scope: Scope | None = None, **apps: AppRole) -> Caller:
    held = {name: Membership(_APPS.index(name), each) for name, each in apps.items()}
    return Caller(
        Principal(7, "user", "anna", role), memberships=held, scopes=ALL_SCOPES if scope is None else frozenset({scope})
    )


def test_every_capability_says_who_has_it() -> None:
    assert set(GRANTS) == set(Capability)
    for capability, grant in GRANTS.items():
        assert isinstance(grant.role, AppRole) == capability.startswith("App"), capability


def test_there_are_seven_scopes_and_each_grants_something() -> None:
    assert len(Scope) == 7
    owner = {scope: _caller(InstanceRole.OWNER, scope) for scope in Scope}
    for scope, caller in owner.items():
        assert any(caller.may(capability, "shop") for capability in Capability if capability is not Capability.SELF), (
            scope
        )


@given(callers(), scopes, capabilities, apps)
def test_a_further_scope_never_allows_less(caller: Caller, more: frozenset[Scope], what: Capability, app: str) -> None:
    wider = Caller(caller.principal, caller.memberships, caller.scopes | more, caller.app, caller.app_id)
    assert wider.may(what, app) >= caller.may(what, app)


@given(callers(), capabilities, apps)
def test_a_higher_role_never_allows_less(caller: Caller, what: Capability, app: str) -> None:
    for role in InstanceRole:
        if role.includes(caller.principal.role):
            promoted = Caller(
                Principal(7, "user", "anna", role), caller.memberships, caller.scopes, caller.app, caller.app_id
            )
            assert promoted.may(what, app) >= caller.may(what, app)


@given(callers(), capabilities, apps)
def test_a_key_of_one_app_may_nothing_anywhere_else(caller: Caller, what: Capability, app: str) -> None:
    of_itself = {Capability.SELF, Capability.SELF_MANAGE_KEYS}  # of its keys, those for that app
    if caller.app is not None and what not in of_itself and (caller.app != app or not what.startswith("App")):
        assert not caller.may(what, app)


@given(callers(), capabilities, apps)
def test_require_refuses_exactly_what_may_does_not_allow(caller: Caller, what: Capability, app: str) -> None:
    try:
        caller.require(what, app)
    except (PermissionDeniedError, NotFoundError):
        assert not caller.may(what, app)
    else:
        assert caller.may(what, app)


@given(callers(), capabilities, apps)
def test_what_is_seen_of_all_apps_is_what_may_be_done_in_each(caller: Caller, what: Capability, app: str) -> None:
    if not what.startswith("App"):
        return
    seen = caller.sight(what)
    assert (seen is None or _APPS.index(app) in seen) == caller.may(what, app)


@given(callers(), apps)
def test_an_app_nobody_told_the_caller_of_does_not_exist_for_it(caller: Caller, app: str) -> None:
    if caller.role_in(app) is None:
        for what in Capability:
            if what.startswith("App"):
                with pytest.raises(NotFoundError, match=f"there is no app '{app}'"):
                    caller.require(what, app)


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (AppRole.VIEWER, Capability.APP_READ_SCRIPTS, Capability.APP_WRITE_SCRIPTS),
        (AppRole.EDITOR, Capability.APP_MANAGE_TRIGGERS, Capability.APP_MANAGE_SECRETS),
        (AppRole.ADMIN, Capability.APP_MANAGE_MEMBERS, Capability.INSTANCE_MANAGE_DOMAINS),
    ],
)
def test_roles_in_an_app(role: AppRole, may: Capability, may_not: Capability) -> None:
    anna = _caller(shop=role)
    assert anna.may(may, "shop")
    assert not anna.may(may_not, "shop")
    assert not anna.may(may, "blog")


@pytest.mark.parametrize(
    ("scope", "may", "may_not"),
    [
        (Scope.SCRIPT_READ, Capability.APP_READ_SCRIPTS, Capability.APP_WRITE_SCRIPTS),
        (Scope.SCRIPT_WRITE, Capability.APP_MANAGE_ROUTES, Capability.APP_MANAGE_TRIGGERS),
        (Scope.SCRIPT_INVOKE, Capability.APP_INVOKE, Capability.APP_READ_SCRIPTS),
        (Scope.DATA_WRITE, Capability.APP_WRITE_DATA, Capability.APP_READ_EXECUTIONS),
        (Scope.LOG_READ, Capability.APP_READ_EXECUTIONS, Capability.APP_DEAD_LETTER_READ),
        (Scope.APP_ADMIN, Capability.APP_DEAD_LETTER_MANAGE, Capability.INSTANCE_CREATE_APPS),
        (Scope.INSTANCE_ADMIN, Capability.INSTANCE_MANAGE_USERS, None),
    ],
)
def test_scopes_of_a_key(scope: Scope, may: Capability, may_not: Capability | None) -> None:
    key = _caller(InstanceRole.OWNER, scope)
    assert key.may(may, "shop")
    assert may_not is None or not key.may(may_not, "shop")


def test_a_refusal_says_what_is_missing() -> None:
    with pytest.raises(PermissionDeniedError, match="AppManageTriggers needs the scope app:admin"):
        _caller(InstanceRole.OWNER, Scope.SCRIPT_WRITE).require(Capability.APP_MANAGE_TRIGGERS, "shop")
    with pytest.raises(PermissionDeniedError, match="anna may not: AppWriteScripts needs the role editor of the app"):
        _caller(shop=AppRole.VIEWER).require(Capability.APP_WRITE_SCRIPTS, "shop")
