"""When spans are sent at all; what they hold is tested with real processes, in tests/faults/test_traces.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from picloud.observability.spans import Spans

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "environ",
    [{}, ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}],
    ids=["no endpoint", "disabled", "no exporter"],
)
def test_spans_that_nobody_wants_are_off(environ: dict[str, str]) -> None:
    spans = Spans()
    spans.start("web", environ)
    assert not spans.is_on
    spans.stop()


def test_nothing_that_sends_spans_is_imported_without_an_endpoint() -> None:
    # redis-py imports parts of OpenTelemetry by itself, where it finds them.
    program = (
        "import sys; from picloud.observability.spans import SPANS; import picloud_web.app, picloud_actors.process;"
        " SPANS.start('web', {}); unwanted = ('opentelemetry.exporter', 'opentelemetry.sdk.trace');"
        " print([name for name in sys.modules if name.startswith(unwanted)])"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown == "[]\n"


def test_an_endpoint_without_the_extra_is_said_and_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    spans = Spans()
    spans.start("web", ENDPOINT)
    assert not spans.is_on
    assert "install picloud[otel]" in caplog.text


@pytest.mark.parametrize(("sampler", "is_sampled"), [("always_on", True), ("always_off", False)])
def test_the_sampler_of_the_environment_decides_about_traces_that_begin_here(
    monkeypatch: pytest.MonkeyPatch, sampler: str, is_sampled: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    spans = Spans()
    spans.start("web", ENDPOINT)
    assert spans.is_on
    assert spans.samples(TRACE_ID, "GET /") is is_sampled
    spans.stop()
