#!/bin/sh
# gpu-hint.sh LOCK: where there is a GPU but the CPU lock is used, say how to change that.
case $1 in *cpu*) ;; *) exit 0 ;; esac
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo "A GPU is here, but this is the CPU environment. For the GPU one:"
    echo "    make clean-env && make train LOCK=requirements/cuda.lock ARGS=\"learner=gpu rollout=gpu solver.gpus=0.2 rollout.gpus=0.4 learner.gpus_per_rank=0.4 learner.ranks=1\""
fi
