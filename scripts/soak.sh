#!/usr/bin/env bash
# Runs ever-new seeds of the simulator for that long, each in a process of its own, and prints what they add up to.
#
#   scripts/soak.sh HOURS [START]    HOURS may be a fraction; START is the first seed, drawn from the clock if not given
#
# The first line says with which seed it starts: a soak is repeated by that number, a single seed by the command that its
# failure prints. Failures are kept in ./sim-failures. Exits with 1 on any violation. SOAK_MINUTES and SOAK_JOBS set the
# simulated minutes of a seed (5) and the seeds side by side (one a core).
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
fi
hours="$1"
# Thousands: two soaks started in a row share no seed.
start="${2:-$(($(date +%s) * 1000))}"
jobs=()
[ -z "${SOAK_JOBS:-}" ] || jobs=(--jobs "$SOAK_JOBS")

echo "first seed $start, $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit')"
exec cargo sim run --seeds "$start.." --hours "$hours" --minutes "${SOAK_MINUTES:-5}" "${jobs[@]}"
