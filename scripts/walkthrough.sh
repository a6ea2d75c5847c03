#!/usr/bin/env bash
# ADR 007's walk-through, step by step, against the real binary: a tenant, a
# knowledge base, a key, a file, a question in every mode, a foreign tenant, and
# the read-only key of the ADR's own sample, whose upload must be refused.
# Needs curl. Usage: scripts/walkthrough.sh ./alcove
set -euo pipefail
source "$(dirname "$0")/server.bash"
start "${1:-./alcove}"

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
processed "$kb" "$doc" "X-API-Key: $READ_KEY"
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
stop
"$bin" check --data-dir "$dir/data"
echo "the walk-through works"
