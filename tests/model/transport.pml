/* transport.pml - the conversation of common/bus/channels.def and common/redis/scripts.def, as built.
 *
 * One lane (aggregator) with sealed batches, one redis_writer, Redis, two flushers, PostgreSQL.
 * What custody.pml abstracts away is spelled out here: receipts and batches travel in pipelines that
 * lose what is in flight when an end dies, and whose two connections (of a dead writer and of its
 * successor) are read in any order; the writer forgets everything when it dies; the lane keeps its
 * `applied` marks over a restart, perhaps an older image of them; lost state is noticed by the next
 * script, which DROPS the list and begins a generation; publishing and removing is one script fenced
 * by the generation; published ranges carry the version of the ledger row.  With AHEAD a flusher also reads
 * the elements behind those that it has in flight, while its transaction runs, and takes them next.
 *
 * Invariants, when nothing can move any more (this is when the keep time ends and marks delete):
 *   NoLoss   a batch that the lane takes for applied is in the ledger
 *   NoStuck  every sealed batch is taken for applied
 * and at every moment:
 *   NoDouble no batch is counted twice
 */
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef LCR
#define LCR 1          /* aggregator dies                                                   */
#endif
#ifndef WCR
#define WCR 1          /* redis_writer dies                                                 */
#endif
#ifndef FCR
#define FCR 1          /* flusher dies, between any two of its steps                        */
#endif
#ifndef WIPE
#define WIPE 1         /* FLUSHALL                                                          */
#endif
#ifndef EVICT
#define EVICT 1        /* one key alone is lost: the list, meta, or applied                 */
#endif
#ifndef STALE
#define STALE 0        /* failover to an older replica                                      */
#endif
#ifndef CORRUPT
#define CORRUPT 0      /* an element in Redis becomes unreadable: moved out by its SHA-1, no ledger */
#endif
#ifndef PGBACK
#define PGBACK 0       /* PostgreSQL loses its last commits                                 */
#endif
#ifndef SPONT
#define SPONT 0        /* the writer asks for a batch again without need (repush_s)         */
#endif
#ifndef NFL
#define NFL 2
#endif
#ifndef AHEAD
#define AHEAD 0        /* a flusher reads its next elements before it has published the ones in flight */
#endif
#ifndef QL
#define QL 4
#endif
#define ALL 3
#define BAD 4          /* flag of an unreadable element */

/* lane: durable, volatile */
byte disk = ALL, mark, pmark;                    /* sealed; taken for applied; the image of that on disk    */
byte lpushed, lflight, lw, lg;             /* pushed under (lw, lg); unanswered; writer, generation    */
/* writer, all volatile */
byte wid = 1, wgen, wtick, wmax, wsent, wver;   /* wsent: 1 + last ranges sent to the lane; 0: none yet */
bit whello;                                /* has the lane been told (wid, wgen)?                      */
/* Redis */
byte q[QL], qn, gen, gcount, ar, av, rp; bit ak, lost;   /* ak: is there an applied field at all?      */
/* PostgreSQL */
byte ledger, lver, cnt[2];
byte faults = FAULTS, pgback = PGBACK, spont = SPONT, again_left = FAULTS + 2, hellos = FAULTS + 1;
#if STALE
byte sq[QL], sqn, sgen, sar, sav, srp; bit sak, shave;
#endif
#if PGBACK
byte pled, plver, pcnt[2]; bit phave;
#endif
byte t;

#ifdef ONE_PIPE
#define OUT down[0]
#else
#define OUT down[wid % 2]                  /* the dead writer's connection may still hold receipts     */
#endif
#define TOLD (wsent > 0 -> wsent - 1 : 0)   /* what the writer has seen applied and told the lane */
mtype = { hello, applied, pushed, again, batch, lane };
chan up = [1] of { mtype, byte };
chan down[2] = [2] of { mtype, byte, byte, byte };

inline fresh(x) { gcount++; x = gcount }
/* every script that looks at the queue begins with this (LUA_STATE) */
inline state() {
#ifdef NO_STATE_CHECK
  if :: gen == 0 -> fresh(gen); rp = 0 :: else fi; lost = 0
#else
  if :: gen == 0 || lost -> fresh(gen); qn = 0; lost = 0; rp = 0; q[0] = 0; q[1] = 0; q[2] = 0; q[3] = 0 :: else fi
#endif
}
inline pop() { q[0] = q[1]; q[1] = q[2]; q[2] = q[3]; q[3] = 0; qn-- }

#ifdef RECEIPTS_ANONYMOUS
#define FROM_MINE true
#else
#define FROM_MINE (w == lw)                /* receipts name their writer */
#endif

active proctype Lane() {
  mtype m; byte a, b, w; bit ask;
end: do
  :: atomic { ask && nfull(up) -> ask = 0; up!lane,0 }         /* lane_hello, lane_epoch: tell me the ranges */
  :: atomic { nempty(down[0]) -> down[0]?m,a,b,w; goto got }
  :: atomic { nempty(down[1]) -> down[1]?m,a,b,w; goto got }
  :: atomic { lw != 0 && lg != 0 && nfull(up) && (disk & ~mark & ~lpushed & ~lflight & 1) -> up!batch,1; lflight = lflight | 1 }
  :: atomic { lw != 0 && lg != 0 && nfull(up) && (disk & ~mark & ~lpushed & ~lflight & 2) -> up!batch,2; lflight = lflight | 2 }
#if PGBACK
  :: d_step { pmark != mark -> pmark = mark }
#else
  :: d_step { (mark & ~pmark) && faults > 0 -> pmark = mark }
#endif
  :: atomic { LCR && faults > 0 -> faults--; mark = pmark & disk; lpushed = 0; lflight = 0; lw = 0; lg = 0;
       do :: down[0]?[m,a,b,w] -> down[0]?m,a,b,w :: empty(down[0]) -> break od;
       do :: down[1]?[m,a,b,w] -> down[1]?m,a,b,w :: empty(down[1]) -> break od;
       do :: up?[m,a] -> up?m,a :: true -> break od;
       m = 0; a = 0; b = 0; w = 0;
       ask = 1 }
  od;
got: atomic {
    if
    :: m == hello ->
#ifdef WRITER_UNSEEN
       if :: lw == 0 -> ask = 1 :: else fi; lw = a;
#else
#ifdef ID_ORDERED
       if :: a > lw -> lw = a; lg = 0; lpushed = 0; lflight = 0 :: else fi;
#else
       if :: a != lw -> lw = a; lg = 0; lpushed = 0; lflight = 0; ask = 1 :: else fi;
#endif
#endif
       if :: lw == a && b != 0 && b != lg -> lg = b; lpushed = 0; lflight = 0 :: else fi
    :: m == applied && FROM_MINE ->
#ifdef MARKS_ONLY_GROW
       mark = mark | (a & disk)
#else
       mark = a & disk
#endif
    :: m == pushed ->
#ifdef PUSHED_ANY
       lflight = lflight & ~a; lpushed = lpushed | a
#else
       if :: b == lg && (lflight & a) && FROM_MINE -> lpushed = lpushed | a; lflight = lflight & ~a :: else fi
#endif
    :: m == again && FROM_MINE -> lpushed = lpushed & ~a
    :: else
    fi;
    m = 0; a = 0; b = 0; w = 0; goto end }
}

active proctype Writer() {
  mtype m; byte a, g;
end: do
  /* look: generation, ranges.  Ranges go first, then the hello that carries the generation. */
  :: atomic { (wgen != gen || gen == 0 || lost || wmax > rp || !whello || (ak && wsent != 1 + ar)) && empty(OUT) ->
       d_step { state(); if :: wmax > rp && wgen == gen -> fresh(gen) :: else fi };
       if :: gen != wgen -> wgen = gen; wtick = 0; wmax = 0; whello = 0; wsent = 0 :: else fi;
       if :: ak && wsent != 1 + ar -> wsent = 1 + ar; OUT!applied,ar,0,wid :: else fi;
       if :: !whello -> whello = 1; OUT!hello,wid,wgen,wid :: else fi }
  :: atomic { up?[lane,a] -> up?lane,a; whello = 0;
#ifndef LANE_START_UNSEEN
       wsent = 0;
#endif
       a = 0 }
  :: atomic { up?[batch,a] && wgen == 0 -> up?batch,a; a = 0 }           /* it was sent to a predecessor: our hello asks for it again */
  :: atomic { up?[batch,a] && wgen != 0 && qn < QL && nfull(OUT) -> up?batch,a;
       d_step { state(); g = gen };
#ifdef PUSH_UNFENCED
       if :: true ->
#else
       if :: g == wgen ->
#endif
             q[qn] = a; qn++; rp++; wtick = wtick | a; wmax = rp; OUT!pushed,a,wgen,wid
          :: else -> skip
       fi; a = 0; g = 0 }
  :: atomic { spont > 0 && nfull(OUT) && wgen == gen && (wtick & ~TOLD) -> spont--; g = wtick & ~TOLD; if :: g & 1 -> a = 1 :: else -> a = 2 fi; OUT!again,a,0,wid; wtick = wtick & ~a; a = 0; g = 0 }
  :: atomic { timeout && hellos > 0 && lw != wid && wgen != 0 && nfull(OUT) -> hellos--; OUT!hello,wid,wgen,wid }     /* each second */
#ifndef NO_AGAIN
  :: atomic { timeout && again_left > 0 && nfull(OUT) && (wtick & ~TOLD) -> again_left--; g = wtick & ~TOLD; if :: g & 1 -> a = 1 :: else -> a = 2 fi; OUT!again,a,0,wid; wtick = wtick & ~a; a = 0; g = 0 }
#endif
  :: atomic { WCR && faults > 0 && wid < 4 -> faults--; wid++; wgen = 0; wtick = 0; wmax = 0; wsent = 0; whello = 0;
       do :: up?[m,a] -> up?m,a :: true -> break od; m = 0; a = 0 }
  od
}

#define CR if :: true :: atomic { FCR && faults > 0 -> faults--; goto again_ } fi
proctype Flusher() {
  byte i0, i1, fg, pv, r, v; bit pk;
#if AHEAD
  byte a0, ag, n;                            /* read ahead: element, generation */
again_: atomic { i0 = 0; i1 = 0; fg = 0; pv = 0; r = 0; v = 0; pk = 0; a0 = 0; ag = 0 };
end:
  if
  :: atomic { a0 != 0 -> i0 = a0; i1 = 0; fg = ag; a0 = 0; ag = 0;
       pv = av; pk = ak }                    /* what is published is read after our own publishing, never ahead */
  :: atomic { a0 == 0 && qn > 0 && gen != 0 && !lost -> fg = gen; i0 = q[0]; pv = av; pk = ak; if :: qn > 1 -> i1 = q[1] :: true fi }
#else
again_: atomic { i0 = 0; i1 = 0; fg = 0; pv = 0; r = 0; v = 0; pk = 0 };
end:
  if
  :: atomic { qn > 0 && gen != 0 && !lost -> fg = gen; i0 = q[0]; pv = av; pk = ak; if :: qn > 1 -> i1 = q[1] :: true fi }
#endif
#if PGBACK
  :: atomic { qn == 0 && gen != 0 && !lost && ak && av > lver -> fg = gen; pv = av; pk = ak }    /* the look once a minute */
#endif
  fi;
  CR;
#if AHEAD
  if                                         /* behind those in flight; another generation is not kept */
  :: atomic { i0 != 0 && gen == fg && !lost -> n = 1 + (i1 != 0);
       if :: qn > n -> a0 = q[n]; ag = gen :: else fi; n = 0 }
  :: true
  fi;
#endif
  if
  :: atomic { pk && lver < pv ->                           /* the database went back */
       if :: gen == fg && !lost -> ar = ledger; av = lver; ak = 1;
#ifndef REWRITE_KEEPS_GENERATION
             fresh(gen)
#endif
          :: else fi }; goto again_
  :: d_step { !(pk && lver < pv) ->                        /* one transaction, under the row locks */
       t = lver;
       if :: (i0 == 1 || i1 == 1) && !(ledger & 1) -> ledger = ledger | 1; cnt[0]++; lver++ :: else fi;
       if :: (i0 == 2 || i1 == 2) && !(ledger & 2) -> ledger = ledger | 2; cnt[1]++; lver++ :: else fi;
#ifdef VERSION_COUNTS_COMMITS
       if :: lver > t -> lver = t + 1 :: else fi;
#endif
       t = 0; r = ledger; v = lver }
  fi;
  CR;
#ifdef AHEAD_PUBLISHED_TOO
  r = r | a0;                                /* what is only read, as if it were committed */
#endif
  d_step {
#ifdef PUBLISH_UNFENCED
    if :: true ->
#else
    if :: gen == fg ->
#endif
#ifdef PUBLISH_OLDER
          ar = r; av = v; ak = 1;
#else
          if :: !ak || v >= av -> ar = r; av = v; ak = 1 :: else fi;
#endif
          if :: qn > 0 && (q[0] == i0 || q[0] == i1) -> pop();
                if :: qn > 0 && (q[0] == i0 || q[0] == i1) -> pop(); if :: qn > 0 && (q[0] == i0 || q[0] == i1) -> pop() :: else fi :: else fi
             :: else fi
#if AHEAD
          ; i0 = 0; i1 = 0; fg = 0; pv = 0; r = 0; v = 0; pk = 0
       :: else -> i0 = 0; i1 = 0; fg = 0; pv = 0; r = 0; v = 0; pk = 0; a0 = 0; ag = 0
    fi };
  goto end
#else
       :: else
    fi };
  goto again_
#endif
}

active proctype Redis() {
end: do
  :: d_step { WIPE && faults > 0 && gen != 0 -> faults--; qn = 0; gen = 0; ak = 0; ar = 0; av = 0; rp = 0; lost = 0; q[0] = 0; q[1] = 0; q[2] = 0; q[3] = 0 }
  :: d_step { EVICT && faults > 0 && qn > 0 -> faults--; qn = 0; lost = 1; q[0] = 0; q[1] = 0; q[2] = 0; q[3] = 0 }
  :: d_step { EVICT && faults > 0 && gen != 0 -> faults--; gen = 0; rp = 0 }
  :: d_step { EVICT && faults > 0 && ak -> faults--; ak = 0; ar = 0; av = 0 }
#if STALE
  :: d_step { faults > 0 && !shave && gen != 0 -> shave = 1; sgen = gen; sqn = qn; sar = ar; sav = av; sak = ak; srp = rp;
       sq[0] = q[0]; sq[1] = q[1]; sq[2] = q[2]; sq[3] = q[3] }
  :: d_step { faults > 0 && shave -> faults--; gen = sgen; qn = sqn; ar = sar; av = sav; ak = sak; rp = srp; lost = 0;
       q[0] = sq[0]; q[1] = sq[1]; q[2] = sq[2]; q[3] = sq[3] }
#endif
#if CORRUPT
  :: d_step { faults > 0 && qn > 0 && q[0] < BAD -> faults--; q[0] = q[0] | BAD }
#endif
  od
}
#if PGBACK
active proctype Postgres() {
end: do
  :: d_step { pgback > 0 && !phave -> phave = 1; pled = ledger; plver = lver; pcnt[0] = cnt[0]; pcnt[1] = cnt[1] }
  :: d_step { pgback > 0 && phave -> pgback--; ledger = pled; lver = plver; cnt[0] = pcnt[0]; cnt[1] = pcnt[1] }
  od
}
#endif

bit NoDouble, NoLoss, NoStuck;
active proctype Monitor() {
end: do
  :: atomic { cnt[0] > 1 || cnt[1] > 1 -> assert(NoDouble) }
#ifdef NO_AGAIN
  :: atomic { timeout && (hellos == 0 || lw == wid) ->
#else
  :: atomic { timeout && (again_left == 0 || !(wtick & ~TOLD)) && (hellos == 0 || lw == wid) ->
#endif
       if :: (mark & ~ledger) != 0 -> assert(NoLoss) :: else fi;
       if :: disk != ALL || mark != ALL -> assert(NoStuck) :: else fi;
       break }
  od
}
init { atomic { byte f = 0; do :: f < NFL -> run Flusher(); f++ :: else -> break od; state() } }
