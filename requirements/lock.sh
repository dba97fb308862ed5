#!/bin/sh
# lock.sh: resolve requirements/*.in into the two locks. Needs uv.
set -eu
cd "$(dirname "$0")"
links=""
[ -z "${FIND_LINKS:-}" ] || links="--find-links $FIND_LINKS"
# The CPU build of torch has a local version; uv resolves the plain one, which has the same requirements.
uv pip compile cpu.in --python-version 3.11 --override overrides.txt --no-header $links -o cpu.lock
sed -i 's/^torch==\([0-9.]*\)$/torch==\1+cpu/' cpu.lock
uv pip compile cuda.in --python-version 3.11 --python-platform x86_64-manylinux_2_28 --override overrides.txt --no-header -o cuda.lock
# The locks name no folder of the machine that made them.
sed -i "s|-r .*/\([a-z]*\.in\)|-r requirements/\1|" cpu.lock cuda.lock
