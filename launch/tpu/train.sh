#!/usr/bin/env bash
# Start training on every host of a Cloud TPU slice:
#   TPU=my-slice ZONE=us-east5-a launch/tpu/train.sh --config=configs/controller/pod.py --workdir=/mnt/data/runs/high ...
# The slice has this repository in ~/shotverse_jax, installed with the extra `tpu` (SETUP=1 installs it), and a folder
# that all hosts share. The program survives the end of this connection; started again, a run goes on.
#   STOP=1 TPU=my-slice ZONE=us-east5-a launch/tpu/train.sh       # save and stop
set -euo pipefail

: "${TPU:?name of the slice}" "${ZONE:?its zone}"
folder=${FOLDER:-shotverse_jax}

everywhere() {
    gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$1"
}

if [ -n "${STOP:-}" ]; then
    everywhere "kill -TERM \$(cat ~/$folder/train.pid)"
    exit
fi
if [ -n "${SETUP:-}" ]; then
    everywhere "cd ~/$folder && python3 -m venv .venv && .venv/bin/pip install -q -e '.[tpu]'"
fi
arguments=$(printf ' %q' "$@")
everywhere "cd ~/$folder && export JAX_COMPILATION_CACHE_DIR=\$HOME/.cache/shotverse_jax && \
    { nohup .venv/bin/python -m launch.train --distributed$arguments > train.log 2>&1 < /dev/null & echo \$! > train.pid; }"
echo "started; its log on each host is ~/$folder/train.log"
