#!/usr/bin/env bash
# Prints the path of a real Ollama server for the tests, and builds it first
# where there is none: $OLLAMA_BIN if set, else alcove/ollama-VERSION in the
# user's cache folder (Go's os.UserCacheDir; engine/enginetest looks there too).
# The build takes minutes once. It needs Go, gcc, g++ and two header packages,
# which the module's archive leaves out; `install` as the argument gets what is
# missing with apt. The server is a tool of the tests: no part of it is linked.
set -euo pipefail
module=$(cd "$(dirname "$0")/../tools/ollama" && pwd)
if [ -n "${OLLAMA_BIN:-}" ]; then
  [ -x "$OLLAMA_BIN" ] || { echo "OLLAMA_BIN=$OLLAMA_BIN is not a program" >&2; exit 1; }
  echo "$OLLAMA_BIN"; exit
fi
version=$(cd "$module" && GOWORK=off "${GO:-go}" list -m -f '{{.Version}}' github.com/ollama/ollama)
case $(uname) in
  Darwin) cache=$HOME/Library/Caches ;;
  *) cache=${XDG_CACHE_HOME:-$HOME/.cache} ;;
esac
bin=$cache/alcove/ollama-$version
if [ -x "$bin" ]; then echo "$bin"; exit; fi

compiles() { printf '%s\n' "$1" | g++ -std=c++17 -fsyntax-only -x c++ - >/dev/null 2>&1; }
need=()
command -v gcc >/dev/null || need+=(gcc libc6-dev)
command -v g++ >/dev/null || need+=(g++)
compiles '#include <nlohmann/json.hpp>' || need+=(nlohmann-json3-dev)
compiles '#include <stb/stb_image.h>' || need+=(libstb-dev)
if [ ${#need[@]} -gt 0 ]; then
  if [ "${1:-}" = install ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq "${need[@]}"; } >&2
  else
    echo "the build of Ollama needs: ${need[*]} (Debian's names); $0 install gets them with apt" >&2; exit 1
  fi
fi

headers=$cache/alcove/ollama-include
mkdir -p "$headers"
trap 'rm -f "$bin.$$"' EXIT
# The stand-in header lies beside the binary: a path in the clone would make
# every clone compile everything again, as the flags are part of Go's cache key.
cp -R "$module/include/." "$headers/"
echo "building Ollama $version, once; this takes minutes" >&2
# Speed is of no use to models of one idle layer, so little is optimised.
(cd "$module" && GOWORK=off CGO_ENABLED=1 CGO_CFLAGS=-O1 CGO_CXXFLAGS=-O1 CGO_CPPFLAGS="-w -I$headers" \
  "${GO:-go}" build -trimpath -ldflags '-s -w' -o "$bin.$$" github.com/ollama/ollama) >&2
mv "$bin.$$" "$bin" # whole or not at all
echo "$bin"
