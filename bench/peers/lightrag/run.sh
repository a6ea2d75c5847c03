#!/usr/bin/env bash
# The same workload on alcove and on LightRAG, one after the other in one run. LightRAG
# comes from its package into an environment that is thrown away with everything else;
# its tokenizer's file is made from the vocabulary that alcove is linked with, so nothing
# but the packages is fetched. Needs Go and Python 3.10 or later with venv.
#
#   bench/peers/lightrag/run.sh RESULT.json [more flags of `alcove bench peer`]
#
# LIGHTRAG is the package's requirement (lightrag-hku[api]==1.5.7), VENV an environment
# that has it already.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
shift
cd "$(dirname "$0")/../../.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
if [ -z "${VENV:-}" ]; then
  VENV=$tmp/venv
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check "${LIGHTRAG:-lightrag-hku[api]==1.5.7}"
fi
CGO_ENABLED=0 go build -trimpath -o "$tmp/alcove" ./cmd/alcove
go run ./bench/peers/lightrag/vocabulary "$tmp/vocabulary"
cd "$tmp"
./alcove bench peer --json --lightrag-server "$VENV/bin/lightrag-server" --vocabulary "$tmp/vocabulary" "$@" > result.json
cp result.json "$out"
"$VENV/bin/python" --version
"$VENV/bin/pip" freeze --disable-pip-version-check 2>/dev/null | grep -iE '^(lightrag-hku|nano-vectordb|networkx|numpy|openai|tiktoken|fastapi|uvicorn)=='
