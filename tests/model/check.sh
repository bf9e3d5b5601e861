#!/bin/bash
# check.sh [quick|deep] - every line says what is expected of it; exit 1 if one differs.  Two jobs at a time.
# quick is part of `make test` (about a minute on two cores), deep takes a quarter of an hour.
set -u
cd "$(dirname "$0")" || exit 2
mode=${1:-quick}
export LIMIT=${LIMIT:-400}
export OUT=${OUT:-$PWD/../../build/model}
mkdir -p "$OUT"; rm -f "$OUT"/*.txt "$OUT"/*.trail

holds() { echo "ok $*"; }               # must verify:   model name flags
found() { echo "bad:$1 ${*:2}"; }       # must be found: what is violated, model name flags

custody() {
    local c=custody.pml
    holds $c base-F2 -DFAULTS=2
    holds $c fence-F1 -DFAULTS=1 -DFENCE
    holds $c fence-two-calls-F1 -DFAULTS=1 -DFENCE -DPUBLISH_THEN_TRIM
    holds $c stale-F1 -DFAULTS=1 -DSTALE=1
    holds $c evict-probe-F1 -DFAULTS=1 -DEVICT=1 -DPROBE=1 -DSPONT=1 -DFENCE
    holds $c forget-probe-F1 -DFAULTS=1 -DFORGET=1 -DPROBE=1 -DFENCE
    holds $c rollback-seal-id-F1 -DFAULTS=1 -DROLLBACK=1 -DSEALID -DARBITER
    holds $c pgback-keep-fence-F0 -DFAULTS=0 -DPGBACK=1 -DKEEP -DFENCE
    found NoDouble $c M1-no-ledger-check -DFAULTS=2 -DNO_LEDGER
    found NoLoss   $c M2-delete-at-push -DFAULTS=2 -DDELETE_AT_PUSH
    found NoLoss   $c M3-push-before-seal -DFAULTS=2 -DPUSH_BEFORE_SEAL
    found NoStuck  $c M4-trim-by-count -DFAULTS=2 -DTRIM_BY_COUNT
    found NoLoss   $c M5-epoch-reused-after-rollback -DFAULTS=2 -DROLLBACK=1 -DEPOCH_REUSE
    found NoDouble $c M6-ledger-read-without-for-update -DFAULTS=2 -DNO_FOR_UPDATE
    found NoDouble $c M7-ledger-row-creation-race -DFAULTS=2 -DROWRACE
    found NoStuck  $c M8-trim-head-then-count -DFAULTS=2 -DTRIM_HEAD_THEN_COUNT
    found NoDouble $c M9-same-identity-twice-in-a-flush -DFAULTS=2 -DTWICE_IN_TX
    found NoLoss   $c M10-publish-before-commit -DFAULTS=2 -DPUBLISH_BEFORE_COMMIT
    found NoLoss   $c M11-ambiguous-taken-as-committed -DFAULTS=2 -DASSUME_COMMITTED
    found NoStuck  $c M12-skip-does-not-publish -DFAULTS=2 -DSKIP_NO_PUBLISH
    found NoStuck  $c M13-trim-then-publish-two-calls -DFAULTS=2 -DTRIM_THEN_PUBLISH
    found NoStuck  $c M14-publish-then-trim-two-calls -DFAULTS=2 -DPUBLISH_THEN_TRIM
    found NoStuck  $c M15-published-range-overwritten-by-older -DFAULTS=2 -DPUB_OVERWRITE
    found NoStuck  $c M16-generation-read-after-first-push -DFAULTS=1 -DFENCE -DGEN_READ_LATE
    found NoStuck  $c M17-list-evicted-no-probe -DFAULTS=2 -DEVICT=1 -DWIPE=0
    found NoStuck  $c M42-published-forgotten-no-probe -DFAULTS=1 -DFORGET=1 -DFENCE
    found NoLoss   $c M18-pg-loses-commits-segments-gone -DFAULTS=1 -DPGBACK=1 -DLOSS_ONLY
    found NoLoss   $c M19-pg-loses-commits-kept-no-fence -DFAULTS=1 -DPGBACK=1 -DKEEP
    found NoStuck  $c M20-pg-loses-commits-kept-no-new-generation -DFAULTS=1 -DPGBACK=1 -DKEEP -DFENCE -DKEEP_NO_GEN
    found NoDouble $c M41-rollback-named-at-seal-without-event-ids -DFAULTS=1 -DROLLBACK=1 -DSEALID
}

events() {
    local x
    for x in "" -DMIDNIGHT -DPOISON "-DPOISON -DSINGLE" -DNO_SHARD_LOCK; do
        holds events.pml "events${x// /}" -DFAULTS=3 $x
    done
    found lst  events.pml M27-day-defaulted-retry-over-midnight -DFAULTS=2 -DMIDNIGHT -DNO_NEIGHBOUR
    found lst  events.pml M28-neighbour-check-without-shard-lock -DFAULTS=2 -DMIDNIGHT -DNO_SHARD_LOCK
    found sum  events.pml M29-wrong-copy-taken-out -DFAULTS=2 -DBOTH_COPIES -DWRONG_COPY
    found lst  events.pml M30-dead-letter-before-ledger -DFAULTS=2 -DPOISON -DDEAD_FIRST -DSINGLE
    found lst  events.pml M31-dead-letter-after-ledger -DFAULTS=2 -DPOISON -DDEAD_LAST -DSINGLE
    found lst  events.pml M32-dead-letter-with-own-key -DFAULTS=2 -DPOISON -DDEAD_OWN_KEY
    found zsum events.pml M33-bisection-commits-halves -DFAULTS=2 -DPOISON -DSINGLE -DHALVES
}

spool() {
    holds ack.pml ack -DFAULTS=3
    holds lane.pml lane-lock -DLANE_LOCK
    holds lane.pml lane-copy-digest -DCOPY -DDIGEST
    holds lane.pml lane-copy-named-at-seal -DCOPY -DSEALID
    found NoLoss   ack.pml M34-duplicate-acked-before-durable -DACK_DUP_EARLY
    found NoLoss   ack.pml M35-nak-leaves-id-in-window -DNO_UNDO
    found NoLoss   ack.pml M36-index-written-before-segment -DINDEX_FIRST
    found NoDouble ack.pml M37-segment-deleted-before-index -DNO_INDEX
    found cnt0     lane.pml M38-two-aggregators-one-lane
    found cnt0     lane.pml M39-live-copy-of-open-segment -DCOPY
    found cnt0     lane.pml M40-named-at-seal-without-event-ids -DCOPY -DSEALID -DNO_EVENT_IDS
}

claims() {
    holds claim.pml claim-F4 -DFAULTS=4
    holds claim.pml claim-nopod-F4 -DFAULTS=4 -DNOPOD
    found NoDouble claim.pml M21-claim-not-in-ledger -DFAULTS=3 -DNO_LEDGER
    found NoDouble claim.pml M22-give-back-without-tombstone -DFAULTS=3 -DGIVE_BACK_NAIVE
    found NoLoss   claim.pml M23-claim-deleted-without-id -DFAULTS=3 -DDELETE_BLIND
    found NoLoss   claim.pml M23b-claim-deleted-before-the-commit -DFAULTS=3 -DDELETE_EARLY
    found NoLoss   claim.pml M24-claim-filled-in-steps -DFAULTS=3 -DCLAIM_NOT_ATOMIC
    found NoLoss   claim.pml M25-claim-ids-counted-not-random-stale-replica -DFAULTS=2 -DSTALE -DSEQ_IDS
    found NoDouble claim.pml M26-stale-replica-inherent -DFAULTS=2 -DSTALE
}

# One kind of fault at a time; deep mixes them.
transport() {
    local t=transport.pml none="-DLCR=0 -DWCR=0 -DFCR=0 -DWIPE=0 -DEVICT=0"
    holds $t talk-flusher-dies-redis-loses-F2 -DFAULTS=2 -DNFL=1 -DLCR=0 -DWCR=0
    holds $t talk-lane-dies-F1 -DFAULTS=1 -DNFL=1 $none -DLCR=1
    holds $t talk-unreadable-element-F1 -DFAULTS=1 -DNFL=1 $none -DCORRUPT=1
    holds $t talk-stale-replica-F1 -DFAULTS=1 -DNFL=1 $none -DSTALE=1
    holds $t talk-read-ahead-flusher-dies-F1 -DFAULTS=1 -DNFL=1 $none -DFCR=1 -DWIPE=1 -DAHEAD=1
    holds $t talk-read-ahead-pgback-F0 -DFAULTS=0 -DNFL=1 -DPGBACK=1 -DAHEAD=1
    found NoStuck $t T1-receipts-do-not-name-their-writer -DFAULTS=1 -DNFL=1 $none -DWCR=1 -DRECEIPTS_ANONYMOUS
    found NoStuck $t T2-new-writer-taken-for-the-old -DFAULTS=1 -DNFL=1 $none -DWCR=1 -DWRITER_UNSEEN
    found NoStuck $t T3-nothing-is-asked-for-again -DFAULTS=1 -DNFL=1 $none -DCORRUPT=1 -DNO_AGAIN
    found NoLoss  $t T4-applied-marks-only-grow -DFAULTS=0 -DPGBACK=1 -DMARKS_ONLY_GROW
    found NoLoss  $t T5-version-counts-commits-not-batches -DFAULTS=0 -DPGBACK=1 -DVERSION_COUNTS_COMMITS
    found NoLoss  $t T6-database-back-and-redis-emptied-at-once-inherent -DFAULTS=1 -DNFL=1 $none -DWIPE=1 -DPGBACK=1
}

transport_deep() {
    local t=transport.pml none="-DLCR=0 -DWCR=0 -DFCR=0 -DWIPE=0 -DEVICT=0"
    holds $t talk-writer-dies-F1 -DFAULTS=1 -DNFL=1 $none -DWCR=1
    holds $t talk-pgback-two-flushers-F0 -DFAULTS=0 -DPGBACK=1
    holds $t talk-read-ahead-two-flushers-F1 -DFAULTS=1 $none -DFCR=1 -DWIPE=1 -DEVICT=1 -DAHEAD=1
    found NoLoss  $t T7-what-is-read-ahead-is-published-with-the-rest -DFAULTS=2 -DNFL=1 $none -DFCR=1 -DEVICT=1 -DAHEAD=1 -DAHEAD_PUBLISHED_TOO
    holds $t talk-everything-one-pipe-F2 -DFAULTS=2 -DNFL=1 -DONE_PIPE -DWCR=0
}

deep() {
    local c=custody.pml k o flags
    holds $c fence-F2 -DFAULTS=2 -DFENCE
    holds $c base-F3 -DFAULTS=3
    holds $c stale-F2 -DFAULTS=2 -DSTALE=1 -DWIPE=0
    holds $c rollback-F2 -DFAULTS=2 -DROLLBACK=1
    holds $c three-events-F1 -DFAULTS=1 -DNEV=3
    holds $c fence-probe-evict-stale-F2 -DFAULTS=2 -DFENCE -DPROBE=1 -DEVICT=1 -DSTALE=1 -DWIPE=0
    for k in ACR WCR FCR AMB PGAB WIPE; do
        flags=
        for o in ACR WCR FCR AMB PGAB WIPE; do
            [ $o = $k ] && flags="$flags -D$o=1" || flags="$flags -D$o=0"
        done
        holds $c pgback-keep-fence-F1-$k -DFAULTS=1 -DPGBACK=1 -DKEEP -DFENCE $flags
    done
    transport_deep
}

one() {
    local want=$1 line verdict
    shift
    case $want,$1 in ok,custody.pml | ok,transport.pml) ;; *) export OPT=-O0 HASH=20 ;; esac
    line=$(./run.sh "$@" 2>&1)
    case $want in
        ok) if grep -q 'errors: 0' <<< "$line" && ! grep -qE 'INCOMPLETE|DEPTH|TIMEOUT' <<< "$line"
            then verdict=HOLDS; else verdict=FAILS; fi ;;
        *)  if grep 'errors: 1' <<< "$line" | grep 'assertion violated' | grep -q "${want#bad:}"
            then verdict=FOUND; else verdict=MISSED; fi ;;
    esac
    printf '%-7s %s\n' $verdict "$line" | tee "$OUT/$2.txt"
}
export -f one

begin=$(date +%s)
{ custody; events; spool; claims; transport; [ "$mode" = deep ] && deep; } |
    xargs -P "${JOBS:-2}" -I{} bash -c 'one {}'
echo "--- $(cut -d' ' -f1 "$OUT"/*.txt | sort | uniq -c | tr -s ' \n' ' ') wall $(($(date +%s) - begin)) s"
! grep -lE '^(FAILS|MISSED)' "$OUT"/*.txt
