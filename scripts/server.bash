# Sourced by scripts that drive the real binary over REST: a server of their own in
# a folder that goes with them, and a few words to ask and to expect with. Sets dir,
# api, pid and admin (a header). Needs curl. Usage: source server.bash; start BINARY [ARG…]
dir=$(mktemp -d)
pid=
finish() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true; rm -rf "$dir"; }
trap finish EXIT

die() { echo "FAILED: $*" >&2; [ -f "$dir/log" ] && tail -5 "$dir/log" >&2; exit 1; }
field() { grep -o "\"$1\":\"[^\"]*\"" | head -1 | cut -d'"' -f4; }
has() { case $2 in *"$1"*) ;; *) die "no $1 in: $2" ;; esac; }

start() { # binary [arguments of serve]
  bin=$1; shift
  "$bin" serve --data-dir "$dir/data" --listen 127.0.0.1:0 --metrics-listen off --log-format text "$@" 2>"$dir/log" &
  pid=$!
  addr=
  for _ in $(seq 200); do
    addr=$(grep -o 'msg=serving address=[0-9.:]*' "$dir/log" 2>/dev/null | cut -d= -f3) && [ -n "$addr" ] && break
    kill -0 "$pid" 2>/dev/null || die "the server ended: $(cat "$dir/log")"
    sleep 0.05
  done
  [ -n "$addr" ] || die "the server did not start"
  api=http://$addr/api/v1
  admin="Authorization: Bearer $("$bin" token --data-dir "$dir/data")"
}
stop() { # a clean end
  kill -TERM "$pid"; wait "$pid" || die "the server did not end cleanly"; pid=
}

json=(-H "Content-Type: application/json")
ask() { # method path credential-header [curl arguments]: the answer, its status on the last line
  local method=$1 path=$2 auth=$3; shift 3
  curl -s -w '\n%{http_code}' -X "$method" "$api$path" -H "$auth" "$@"
}
expect() { # status answer
  local got=${2##*$'\n'}
  [ "$got" = "$1" ] || die "status $got instead of $1: $2"
}
processed() { # path of a knowledge base, document, credential-header
  local r
  for _ in $(seq 200); do
    r=$(ask GET "$1/documents/$2/status" "$3"); expect 200 "$r"
    case $r in *'"status":"processed"'*) return ;; *'"status":"failed"'*) die "$r" ;; esac
    sleep 0.05
  done
  die "not processed in time: $r"
}
