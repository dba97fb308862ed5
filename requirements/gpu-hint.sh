#!/bin/sh
# gpu-hint.sh LOCK: where there is a GPU but the CPU lock is used, say how to change that.
case $1 in *cpu*) ;; *) exit 0 ;; esac
command -v nvidia-smi >/dev/null 2>&1 || exit 0
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
[ "$gpus" -gt 0 ] || exit 0
if [ "$gpus" -ge 8 ]; then layout=gpu8; elif [ "$gpus" -ge 2 ]; then layout=gpu2; else layout=gpu1; fi
echo "A GPU is here, but this is the CPU environment. For the GPU one:"
echo "    make clean-env && make train LOCK=requirements/cuda.lock ARGS=\"cluster=$layout\""
