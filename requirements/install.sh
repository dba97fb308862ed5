#!/bin/sh
# install.sh PYTHON VENV LOCK: make the environment and install exactly what the lock names.
#
# --no-deps, because vLLM's CPU wheel also asks for torchvision, torchaudio and torchcodec, whose registry builds
# are for CUDA and break transformers beside a CPU torch; serving text needs none of them.
# --no-compile: warm.py keeps the bytecode of what is used, also where the environment says that none is to be
# written, as container images do. Each of a run's processes would compile it all again.
set -eu
python=$1 venv=$2 lock=$3

command -v "$python" >/dev/null || { echo "setup: $python not found; install Python 3.11 or pass PYTHON=..." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "setup: $python is not Python 3.11" >&2; exit 1; }

echo "setup: $venv from $lock (a few minutes, about 4 GB)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
mkdir -p "$venv/log"
"$venv/bin/python" -m pip --version > /dev/null

torch=$(grep -E '^torch==[^ ]*\+cpu' "$lock" || true)
if [ -n "$torch" ]; then
    # PyTorch's own index is asked only where the configured sources have no CPU build.
    if "$venv/bin/python" -m pip install --no-compile --no-deps --progress-bar off "$torch" > "$venv/log/torch.log" 2>&1; then
        echo "setup: $torch from the configured sources"
    else
        echo "setup: the configured sources have no $torch; taking it from PyTorch's CPU index"
        "$venv/bin/python" -m pip install --no-compile --no-deps "$torch" --index-url https://download.pytorch.org/whl/cpu
    fi
fi
"$venv/bin/python" -m pip install --no-compile --no-deps --progress-bar off -r "$lock" > "$venv/log/install.log" 2>&1 || {
    tail -n 20 "$venv/log/install.log" >&2
    echo "setup: failed; the whole log is in $venv/log/install.log" >&2
    exit 1
}
here=$(dirname "$0")
env -u PYTHONDONTWRITEBYTECODE PYTHONPATH="$here/.." "$venv/bin/python" "$here/warm.py" > "$venv/log/warm.log" 2>&1 || true
echo "setup: done"
