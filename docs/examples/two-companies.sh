#!/usr/bin/env bash
# Two companies on one server, from the first account to the last record of the
# audit log: what an administrator of alcove does, step by step. It runs as it
# stands and leaves nothing behind. Needs curl. Usage: docs/examples/two-companies.sh ./alcove
set -euo pipefail
source "$(dirname "$0")/../../scripts/server.bash"

echo "1. The first account is made while no server runs; it is asked for its password at a terminal."
printf 'correct horse battery staple\n' | "${1:-./alcove}" user add root@example.com --system-admin --password-stdin --data-dir "$dir/data" >/dev/null
start "${1:-./alcove}" --llm-binding builtin
sign_in() { # user password: a header
  local r
  r=$(curl -s -w '\n%{http_code}' "$api/auth/token" -d grant_type=password --data-urlencode "username=$1" --data-urlencode "password=$2"); expect 200 "$r"
  echo "Authorization: Bearer $(field access_token <<<"$r")"
}
root=$(sign_in root@example.com 'correct horse battery staple')

echo "2. A tenant for each company, the small one with a small quota."
r=$(ask POST /tenants "$root" "${json[@]}" -d '{"tenant_name":"Acme"}'); expect 201 "$r"; acme=/tenants/$(field tenant_id <<<"$r")
r=$(ask POST /tenants "$root" "${json[@]}" -d '{"tenant_name":"Beta","quota":{"max_documents":2}}'); expect 201 "$r"; beta=/tenants/$(field tenant_id <<<"$r")

echo "3. Acme gets an administrator of its own, who is told a password for one use and changes it."
r=$(ask POST "$acme/members" "$root" "${json[@]}" -d '{"user":"ada","role":"admin","all":true,"invite":true}'); expect 201 "$r"
once=$(field one_time_password <<<"$r")
first=$(sign_in ada "$once")
r=$(ask PUT /auth/password "$first" "${json[@]}" -d '{"old":"'"$once"'","new":"analytical engine no 1"}'); expect 200 "$r"
ada=$(sign_in ada 'analytical engine no 1')

echo "4. Ada makes a knowledge base, takes a viewer in and gives a program a key."
r=$(ask POST "$acme/knowledge-bases" "$ada" "${json[@]}" -d '{"kb_name":"Handbook","config":{"top_k":20}}'); expect 201 "$r"; id=$(field kb_id <<<"$r"); kb=$acme/knowledge-bases/$id
r=$(ask POST "$acme/members" "$ada" "${json[@]}" -d '{"user":"grace","role":"viewer","knowledge_base_ids":["'"$id"'"],"invite":true}'); expect 201 "$r"
once=$(field one_time_password <<<"$r")
r=$(ask PUT /auth/password "$(sign_in grace "$once")" "${json[@]}" -d '{"old":"'"$once"'","new":"nanoseconds of wire"}'); expect 200 "$r"
grace=$(sign_in grace 'nanoseconds of wire')
r=$(ask POST "$acme/api-keys" "$ada" "${json[@]}" -d '{"key_name":"website","knowledge_base_ids":["'"$id"'"],"permissions":["query:run"]}'); expect 201 "$r"
website="X-API-Key: $(field key <<<"$r")"

echo "5. Ada adds a document. Sent twice with one Idempotency-Key it is taken once."
add() { ask POST "$kb/documents/text" "$ada" "${json[@]}" -H "Idempotency-Key: letter-1" -d '{"text":"Ada Lovelace wrote to Charles Babbage about the Analytical Engine. Babbage lived in London.","file_source":"letters/1843.txt"}'; }
r=$(add); expect 202 "$r"; doc=$(field doc_id <<<"$r")
again=$(add); [ "$again" = "$r" ] || die "two answers: $r / $again"
processed "$kb" "$doc" "$ada"

echo "6. All three may ask; the viewer may not add, and the website may not even list."
for who in "$ada" "$grace" "$website"; do
  r=$(ask POST "$kb/query" "$who" "${json[@]}" -d '{"query":"Where did Babbage live?"}'); expect 200 "$r"; has London "$r"; has letters/1843.txt "$r"
done
r=$(ask POST "$kb/documents/text" "$grace" "${json[@]}" -d '{"text":"A note."}'); expect 403 "$r"; has document:create "$r"
r=$(ask GET "$kb/documents" "$website"); expect 403 "$r"; has document:read "$r"

echo "7. Beta sees nothing of it, and cannot tell what there is."
r=$(ask POST "$beta/members" "$root" "${json[@]}" -d '{"user":"bob","role":"admin","all":true,"invite":true}'); expect 201 "$r"
once=$(field one_time_password <<<"$r")
r=$(ask PUT /auth/password "$(sign_in bob "$once")" "${json[@]}" -d '{"old":"'"$once"'","new":"second company inc"}'); expect 200 "$r"
bob=$(sign_in bob 'second company inc')
strip() { sed 's/"request_id":"[^"]*"//'; }
there=$(ask GET "$kb" "$bob"); nowhere=$(ask GET "$acme/knowledge-bases/770e8400-e29b-41d4-a716-446655440001" "$bob")
expect 403 "$there"; [ "$(strip <<<"$there")" = "$(strip <<<"$nowhere")" ] || die "two answers: $there / $nowhere"

echo "8. Beta's quota holds, a batch as a whole."
r=$(ask POST "$beta/knowledge-bases" "$bob" "${json[@]}" -d '{"kb_name":"Notes"}'); expect 201 "$r"; notes=$beta/knowledge-bases/$(field kb_id <<<"$r")
r=$(ask POST "$notes/documents/texts" "$bob" "${json[@]}" -d '{"texts":["One note.","Two notes.","Three notes."]}'); expect 429 "$r"; has max_documents "$r"
r=$(ask POST "$notes/documents/texts" "$bob" "${json[@]}" -d '{"texts":["One note.","Two notes."]}'); expect 202 "$r"
r=$(ask GET "$beta/usage" "$bob"); expect 200 "$r"; has '"documents":2' "$r"

echo "9. A member who leaves is out with the next call; a suspended tenant, too."
r=$(ask DELETE "$acme/members/grace" "$ada"); expect 200 "$r"
r=$(ask POST "$kb/query" "$grace" "${json[@]}" -d '{"query":"Where did Babbage live?"}'); expect 401 "$r"
r=$(ask PUT "$beta" "$root" "${json[@]}" -d '{"is_active":false}'); expect 200 "$r"
r=$(ask GET "$notes/documents" "$bob"); expect 403 "$r"; has TENANT_SUSPENDED "$r"

echo "10. Everything that changed something is on record, and nobody can alter the record unseen."
r=$(ask GET "$acme/audit?limit=100" "$ada"); expect 200 "$r"; has member_removed "$r"
r=$(ask DELETE "$kb" "$ada"); expect 200 "$r"
r=$(ask POST "$kb/query" "$website" "${json[@]}" -d '{"query":"Where did Babbage live?"}')
case ${r##*$'\n'} in 401 | 403 | 404) ;; *) die "a deleted knowledge base answers: $r" ;; esac
stop
"$bin" audit verify --data-dir "$dir/data"
"$bin" check --data-dir "$dir/data"
echo "the example works"
