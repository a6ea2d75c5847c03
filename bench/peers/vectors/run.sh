#!/usr/bin/env bash
# Measures alcove's vector search and that of other libraries on the same vectors.
set -euo pipefail
cd "$(dirname "$0")"
data=$(realpath "${1:-../../../../shared/data}")
kinds=${KINDS:-text,clusters,near-duplicates} sizes=${SIZES:-10000,50000} queries=${QUERIES:-500}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd ../../.. && CGO_ENABLED=0 go build -o "$work/alcove" ./cmd/alcove)
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet hnswlib==0.8.0 faiss-cpu==1.15.1 numpy==2.4.6
(cd chromem && go build -o "$work/chromem" .)
bench() { "$work/alcove" bench ann --data "$data" --kinds "$kinds" --sizes "$sizes" --queries "$queries" "$@"; }
bench --export "$work/vectors"
bench --json --modes exact,own,int8,coder --deletes 0 > "$work/alcove.json"
for v in "$work"/vectors/*; do
  OMP_NUM_THREADS=1 "$work/venv/bin/python" peers.py "$v" "$work/alcove.json" "$work/chromem"
done
