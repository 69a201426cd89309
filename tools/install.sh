#!/usr/bin/env bash
# Installs icvos from this checkout, editable, into a virtual environment:
#     tools/install.sh VENV CONSTRAINTS EXTRAS      (python: $PYTHON, else python3)
# What pip prints last goes to VENV.log. A failure is one line that says what to do, and status 2.
set -uo pipefail
venv=$1 constraints=$2 extras=$3 python=${PYTHON:-python3} log=$1.log
needed=8  # GB with torch and the libraries that it brings

stop() { echo "make: $*" >&2; exit 2; }

free_gb() { df -Pk "$1" 2>/dev/null | awk 'END {print int($4 / 1000000)}'; }

why() {  # what the log says, in one line
    local venv_gb temporary_gb index
    venv_gb=$(free_gb "$place") temporary_gb=$(free_gb "$temporary")
    if grep -qE 'No space left on device|Errno 28|Disk quota exceeded' "$log" || [ $((venv_gb * temporary_gb)) = 0 ]; then
        stop "the disk is full: $venv_gb GB are free for $venv and $temporary_gb GB for pip's temporary files in" \
            "$temporary; free some space, or set TMPDIR to a folder on a larger disk, then run the same again"
    elif grep -qE 'Connection|Max retries|IncompleteRead|timed out|ProxyError|SSLError|HTTP error|Could not fetch' "$log"; then
        index=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || echo https://pypi.org/simple)
        stop "the package registry ${PIP_INDEX_URL:-$index} did not answer: check the network, or name another by" \
            "PIP_INDEX_URL=https://MIRROR/simple, then run the same again ($log has pip's words)"
    elif grep -q 'No matching distribution found' "$log"; then
        stop "the package registry has no $(sed -n 's/.*No matching distribution found for //p' "$log" | tail -1) for" \
            "$("$venv/bin/python" --version): name another registry by PIP_INDEX_URL=https://MIRROR/simple, or another" \
            "Python by PYTHON=python3.11 after rm -r $venv ($log has pip's words)"
    fi
    stop "pip failed: $(grep -i '^ *error' "$log" | tail -1); $log has the rest"
}

pip_install() {
    "$venv/bin/python" -m pip --disable-pip-version-check install -q -c "$constraints" "$@" >"$log" 2>&1 || why
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    stop "$python is no Python 3.11 or newer: name one, as in PYTHON=python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "$python cannot make environments: install its module venv (Debian: apt install python3-venv)"
temporary=${TMPDIR:-/tmp} place=$venv
test -d "$temporary" || temporary=/tmp
test -e "$venv" || place=.
if ! compgen -G "$venv/lib/python3*/site-packages/torch/version.py" >/dev/null && [ "$(free_gb "$place")" -lt $needed ]; then
    stop "$(free_gb "$place") GB are free for $venv; torch and its libraries take 7: free $needed GB, or make $venv a" \
        "link to a folder on a larger disk"
fi
{ : >"$log"; } 2>/dev/null || stop "$log cannot be written: is the disk full, or the folder another's?"
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear "$venv" >"$log" 2>&1 || why
fi
echo "installing into $venv what $constraints pins, for icvos[$extras]: some minutes the first time"
pip_install setuptools wheel
pip_install torch torchvision
SAM2_BUILD_CUDA=0 pip_install --no-build-isolation --no-deps sam2==1.1.0
pip_install --no-build-isolation -e ".[$extras]"
