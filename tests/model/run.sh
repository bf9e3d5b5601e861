#!/bin/sh
# run.sh model.pml name flags...   -> one line: what SPIN's verifier said of the model under these flags.
# OUT (default: build/model at the top of the tree) receives trails; SHOW=n prints the last n steps of one.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/../../build/model}
model=$1; name=$2; shift 2
mkdir -p "$out"
work=$(mktemp -d "${TMPDIR:-/tmp}/spendd-model.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
cp "$here/$model" "$work/" && cd "$work" || exit 2
spin -a "$@" "$model" > spin.out 2>&1 || { echo "$name: SPIN ERROR"; cat spin.out; exit 2; }
gcc "${OPT:--O2}" -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM="${MEM:-4000}" -o pan pan.c 2> gcc.out ||
    { echo "$name: GCC ERROR"; cat gcc.out; exit 2; }
start=$(date +%s)
timeout "${LIMIT:-300}" ./pan -m"${DEPTH:-200000}" -w"${HASH:-24}" > pan.out 2>&1; code=$?
took=$(($(date +%s) - start))
errors=$(grep -o 'errors: [0-9]*' pan.out | head -1)
states=$(awk '/states, stored/ { print $1; exit }' pan.out)
why=$(grep -E '^pan:[0-9]+:|^pan: ' pan.out | head -1 | cut -c1-110)
note=
grep -q 'max search depth too small' pan.out && note=DEPTH
grep -qE 'out of memory|reached -DMEMLIM' pan.out && note=$note-INCOMPLETE
[ "$code" = 124 ] && note=$note-TIMEOUT
printf '%-46s %-10s states=%-9s %3ss %s %s\n' "$name" "$errors" "$states" "$took" "$note" "$why"
if [ -f "$model.trail" ]; then
    cp "$model.trail" "$out/$name.trail"
    [ -n "${SHOW:-}" ] && spin -t -p -g "$@" "$model" 2>/dev/null | tail -"$SHOW"
fi
exit 0
