#!/usr/bin/env bash
# membarrier(2): registering is cheap only before the second thread exists.
#
# Guess:    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED sets a flag of the process: microseconds, whenever it is called.
# Instead:  with one thread some 10 to 30 us; with a second thread, which only sleeps, 2 to 30 ms. A second call is cheap again. A Go program always has
#           several threads by the time main runs.
# Seen:     Linux 6.18, the C library of Debian 12 through Python 3.11 (any will do).
# Source:   kernel/sched/membarrier.c of Linux, sync_runqueues_membarrier_state: with more than one thread it waits for an
#           RCU grace period before it looks at the run queues.
# Matters:  whoever moves fences from a hot path to membarrier should register once, early and beside other work; else the
#           first Open of a library pays what it promises for a whole recovery.
set -euo pipefail
cat >"${TMPDIR:-/tmp}/finding.$$" <<'EOF'
import ctypes, os, platform, statistics, sys, threading, time
NR = {"x86_64": 324, "aarch64": 283}[platform.machine()]
REGISTER = 1 << 4
libc = ctypes.CDLL(None, use_errno=True)

def once(threads, calls):
    """Registers in a fresh process; returns the time of the last of so many calls, in microseconds."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        stop = threading.Event()
        for _ in range(threads - 1):
            threading.Thread(target=stop.wait, daemon=True).start()
        for _ in range(calls):
            t = time.perf_counter()
            ok = libc.syscall(NR, REGISTER, 0, 0)
            d = time.perf_counter() - t
        os.write(w, b"%d %d" % (ok, d * 1e6))
        os._exit(0)
    os.waitpid(pid, 0)
    ok, us = os.read(r, 64).split()
    os.close(r); os.close(w)
    if int(ok) != 0:
        sys.exit("membarrier is not there")
    return int(us)

one = statistics.median(once(1, 1) for _ in range(15))
two = statistics.median(once(2, 1) for _ in range(15))
again = statistics.median(once(2, 2) for _ in range(15))
print(f"one thread {one} us, two threads {two} us, two threads and registered before {again} us (medians of 15)")
if two < 10 * one or two < 500:
    sys.exit("CHANGED: registering does not wait")
EOF
trap 'rm -f "${TMPDIR:-/tmp}/finding.$$"' EXIT
uname -sr
python3 "${TMPDIR:-/tmp}/finding.$$"
