"""Mail addresses of triggers."""

from __future__ import annotations

import pytest

from picloud.triggers import matches_address, wrong_address


@pytest.mark.parametrize(
    "address",
    [
        "orders", "Orders", "a.b_c+d-e", "1", "a" * 64, "in@localhost", "in@Example.org", "in@1.2.example",
        "in@xn--bcher-kva.example",
    ],
)  # fmt: skip
def test_a_local_part_with_or_without_a_domain_is_an_address(address: str) -> None:
    assert wrong_address(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "", "@", "@example.org", "a b", ".a", "a.", "a..b", '"a"@b', "a*", "a\n", "a" * 65, "ä", "\u212aelvin", "<a>",
        "in@", "in@a@b", "in@.org", "in@org.", "in@a..b", "in@-a.org", "in@[127.0.0.1]", "in@bücher.example", "in@a_b",
    ],
)  # fmt: skip
def test_what_mail_cannot_be_sent_to_is_refused(address: str) -> None:
    assert (wrong_address(address) or "").startswith(f"{address!r} is not an address: ")


def test_an_address_that_is_too_long_is_told() -> None:
    domain = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert wrong_address(f"x@{domain}") == "an address has at most 254 characters"
    assert wrong_address(f"x@{domain[2:]}") is None


@pytest.mark.parametrize(
    ("address", "recipient", "is_match"),
    [
        ("orders", "orders@example.org", True),
        ("orders", "ORDERS@other.example", True),
        ("orders", "orders+eu@example.org", False),
        ("orders@example.org", "Orders@EXAMPLE.org", True),
        ("orders@example.org", "orders@other.example", False),
        ("example.org", "orders@example.org", False),
        ("orders", '"x@orders"@example.org', False),
    ],
)
def test_an_address_takes_its_own_mail_in_any_case(address: str, recipient: str, is_match: bool) -> None:
    assert matches_address(address, recipient) == is_match
