#!/usr/bin/env bash
# Lists every module that is linked into the binary on any target, with its
# licence. A licence that may not be in the binary ends it with an error.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
bad=0
while read -r module licence; do
  case $licence in
    *GPL* | *Unknown* | '') echo "licence of $module: '$licence'" >&2; bad=1 ;;
  esac
  echo "$module  $licence"
done < <(
  for t in linux/amd64 darwin/arm64 windows/amd64; do
    GOOS=${t%/*} GOARCH=${t#*/} go tool -modfile=tools/go.mod go-licenses report ./cmd/alcove --ignore alcove 2>/dev/null
  done | awk -F, '{ print $1 "  " $3 }' | LC_ALL=C sort -u
)
exit $bad
