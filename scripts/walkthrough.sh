#!/usr/bin/env bash
# ADR 007's walk-through, step by step, against the real binary: a tenant, a
# knowledge base, a key, a file, a question in every mode, a foreign tenant, and
# the read-only key of the ADR's own sample, whose upload must be refused.
# Needs curl. Usage: scripts/walkthrough.sh ./alcove
set -euo pipefail
bin=${1:-./alcove}
dir=$(mktemp -d)
pid=
finish() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true; rm -rf "$dir"; }
trap finish EXIT

die() { echo "FAILED: $*" >&2; [ -f "$dir/log" ] && tail -5 "$dir/log" >&2; exit 1; }
field() { grep -o "\"$1\":\"[^\"]*\"" | head -1 | cut -d'"' -f4; }
has() { case $2 in *"$1"*) ;; *) die "no $1 in: $2" ;; esac; }

"$bin" serve --data-dir "$dir/data" --listen 127.0.0.1:0 --log-format text 2>"$dir/log" &
pid=$!
for _ in $(seq 100); do
  addr=$(grep -o 'msg=serving address=[0-9.:]*' "$dir/log" 2>/dev/null | cut -d= -f3) && [ -n "$addr" ] && break
  kill -0 "$pid" 2>/dev/null || die "the server ended: $(cat "$dir/log")"
  sleep 0.05
done
[ -n "${addr:-}" ] || die "the server did not start"
api=http://$addr/api/v1
json=(-H "Content-Type: application/json")
ask() { # method path key-header [curl args]: status on the last line
  local method=$1 path=$2 auth=$3; shift 3
  curl -s -w '\n%{http_code}' -X "$method" "$api$path" -H "$auth" "$@"
}
expect() { # status answer
  local got=${2##*$'\n'}
  [ "$got" = "$1" ] || die "status $got instead of $1: $2"
}

ADMIN_TOKEN=$("$bin" token --data-dir "$dir/data")
admin="Authorization: Bearer $ADMIN_TOKEN"

echo "1. create a tenant"
r=$(ask POST /tenants "$admin" "${json[@]}" -d '{"tenant_name": "Test Tenant"}'); expect 201 "$r"; has '"status":"success"' "$r"
TENANT_ID=$(field tenant_id <<<"$r")

echo "2. create a knowledge base"
r=$(ask POST "/tenants/$TENANT_ID/knowledge-bases" "$admin" "${json[@]}" -d '{"kb_name": "Test KB"}'); expect 201 "$r"
KB_ID=$(field kb_id <<<"$r")
kb=/tenants/$TENANT_ID/knowledge-bases/$KB_ID

echo "3. create API keys: the ADR's (read-only) and one that may add documents"
r=$(ask POST "/tenants/$TENANT_ID/api-keys" "$admin" "${json[@]}" \
  -d '{"key_name":"read-only","knowledge_base_ids":["'"$KB_ID"'"],"permissions":["query:run","document:read"]}'); expect 201 "$r"
READ_KEY=$(field key <<<"$r"); has sk- "$READ_KEY"
r=$(ask POST "/tenants/$TENANT_ID/api-keys" "$admin" "${json[@]}" \
  -d '{"key_name":"test-key","knowledge_base_ids":["'"$KB_ID"'"],"permissions":["query:run","document:read","document:create"]}'); expect 201 "$r"
API_KEY=$(field key <<<"$r")

echo "4. add a document: refused to the read-only key, accepted from the other"
cat >"$dir/test_document.md" <<'EOF'
# Ada Lovelace

Ada Lovelace was an English mathematician. She worked with Charles Babbage on
the Analytical Engine and published the first algorithm for it in 1843.

# Charles Babbage

Charles Babbage was born in London in 1791. He designed the Analytical Engine.
EOF
r=$(ask POST "$kb/documents/add" "X-API-Key: $READ_KEY" -F "file=@$dir/test_document.md"); expect 403 "$r"; has document:create "$r"
r=$(ask POST "$kb/documents/add" "X-API-Key: $API_KEY" -F "file=@$dir/test_document.md"); expect 202 "$r"
track=$(field track_id <<<"$r"); doc=$(field doc_id <<<"$r")
for _ in $(seq 100); do
  r=$(ask GET "$kb/documents/$doc/status" "X-API-Key: $READ_KEY"); expect 200 "$r"
  case $r in *'"status":"processed"'*) break ;; *'"status":"failed"'*) die "$r" ;; esac
  sleep 0.05
done
has '"status":"processed"' "$r"
r=$(ask GET "$kb/tracks/$track" "X-API-Key: $READ_KEY"); expect 200 "$r"; has "$doc" "$r"

echo "5. query in every mode"
for mode in naive local global hybrid mix ppr; do
  r=$(ask POST "$kb/query" "X-API-Key: $READ_KEY" "${json[@]}" \
    -d '{"query":"Where was the designer of the Analytical Engine born?","mode":"'$mode'","top_k":10}'); expect 200 "$r"
  has '"llm":"none"' "$r"; has '"reference_id":"1"' "$r"; has "$doc" "$r"
done
has London "$r"
r=$(ask POST "$kb/query" "X-API-Key: $READ_KEY" "${json[@]}" -d '{"query":"hello there","mode":"bypass"}'); expect 409 "$r"; has NO_MODEL "$r"
r=$(ask POST "$kb/query/data" "X-API-Key: $READ_KEY" "${json[@]}" -d '{"query":"Who designed the Analytical Engine?"}'); expect 200 "$r"; has entity_name "$r"
r=$(curl -sN -X POST "$api$kb/query/stream" -H "X-API-Key: $READ_KEY" "${json[@]}" -d '{"query":"Who designed the Analytical Engine?"}'); has 'data: {"references"' "$r"; has '"done":true' "$r"
r=$(ask GET "$kb/graph?label=*" "X-API-Key: $READ_KEY"); expect 403 "$r"; has kb:access "$r"
r=$(ask GET "$kb/graph?label=*" "$admin"); expect 200 "$r"; has '"nodes":[{' "$r"

echo "6. a foreign tenant is 403, whether it exists or not"
r=$(ask POST /tenants "$admin" "${json[@]}" -d '{"tenant_name": "Tenant B"}'); expect 201 "$r"
TENANT_B_ID=$(field tenant_id <<<"$r")
a=$(ask GET "/tenants/$TENANT_B_ID" "X-API-Key: $API_KEY"); expect 403 "$a"
b=$(ask GET "/tenants/770e8400-e29b-41d4-a716-446655440001" "X-API-Key: $API_KEY"); expect 403 "$b"
strip() { sed 's/"request_id":"[^"]*"//'; }
[ "$(strip <<<"$a")" = "$(strip <<<"$b")" ] || die "the two answers differ: $a / $b"

echo "7. stop: readiness first, then a clean end"
curl -sf "http://$addr/readyz" >/dev/null || die "not ready"
kill -TERM "$pid"; wait "$pid" || die "the server did not end cleanly"; pid=
"$bin" check --data-dir "$dir/data"
echo "the walk-through works"
