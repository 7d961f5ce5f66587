#!/usr/bin/env bash
# Two NameServers and a broker group of three processes on this machine.
#
#   scripts/three-nodes.sh start         starts what is down, keeps data; returns once a leader is registered
#   scripts/three-nodes.sh status        what runs, and where each member stands
#   scripts/three-nodes.sh kill-leader   SIGKILL to the leader; prints its pid and term
#   scripts/three-nodes.sh stop          SIGTERM to everything, and waits
#
# Data, logs and pid files lie in ./quorumq-data/three. QUORUMQ_BIN names another binary than target/release/quorumq,
# QUORUMQ_FLUSH another flushDiskType than SYNC_FLUSH, QUORUMQ_SEGMENT another mappedFileSizeCommitLog than 1 GiB, and
# QUORUMQ_PORTS other ports than "9876 9877 10911 10921 10931" (a broker's VIP port is 2 below, its Raft port 1 above).
set -euo pipefail

data="$PWD/quorumq-data/three"
root="$(cd "$(dirname "$0")/.." && pwd)"
bin="${QUORUMQ_BIN:-$root/target/release/quorumq}"
flush="${QUORUMQ_FLUSH:-SYNC_FLUSH}"
segment="${QUORUMQ_SEGMENT:-1073741824}"
read -r ns0 ns1 n0 n1 n2 <<<"${QUORUMQ_PORTS:-9876 9877 10911 10921 10931}"
namesrv="127.0.0.1:$ns0;127.0.0.1:$ns1"
peers="n0-127.0.0.1:$((n0 + 1));n1-127.0.0.1:$((n1 + 1));n2-127.0.0.1:$((n2 + 1))"
names=(ns0 ns1 n0 n1 n2)

pid_of() { cat "$data/$1.pid" 2>/dev/null || true; }

# Whether the process in a pid file runs and is one of ours: a pid may have been given to somebody else since.
runs() {
  local pid
  pid="$(pid_of "$1")"
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && grep -qz quorumq "/proc/$pid/cmdline" 2>/dev/null
}

launch() {
  local name="$1"
  shift
  nohup "$bin" "$@" >>"$data/$name.log" 2>&1 </dev/null &
  echo $! >"$data/$name.pid"
}

start_nameserver() {
  runs "$1" || launch "$1" nameserver --listen-port "$2" --bind-address 127.0.0.1 \
    --kv-config-path "$data/$1/kvConfig.json"
}

start_broker() {
  local name="$1" port="$2"
  runs "$name" && return
  mkdir -p "$data/$name"
  cat >"$data/$name.conf" <<CONF
brokerClusterName = DefaultCluster
brokerName        = broker-a
brokerIP1         = 127.0.0.1
bindAddress       = 127.0.0.1
listenPort        = $port
namesrvAddr       = $namesrv
storePathRootDir  = $data/$name
dLegerPeers       = $peers
dLegerSelfId      = $name
flushDiskType     = $flush
mappedFileSizeCommitLog = $segment
bootstrap         = true
CONF
  launch "$name" broker -c "$data/$name.conf"
}

status_of_group() { "$bin" group status broker-a -n "$namesrv" 2>/dev/null; }

wait_for_leader() {
  local name
  for _ in $(seq 1 300); do
    for name in "${names[@]}"; do
      runs "$name" || { echo "$name ended; the end of $data/$name.log:" >&2; tail -n 5 "$data/$name.log" >&2; exit 1; }
    done
    if status_of_group | grep -q ' leader [0-9]'; then
      return
    fi
    sleep 0.1
  done
  echo "no leader within 30 s; see the logs in $data" >&2
  exit 1
}

start() {
  if [ ! -x "$bin" ]; then
    (cd "$root" && cargo build --release)
  fi
  mkdir -p "$data"
  start_nameserver ns0 "$ns0"
  start_nameserver ns1 "$ns1"
  start_broker n0 "$n0"
  start_broker n1 "$n1"
  start_broker n2 "$n2"
  wait_for_leader
  status
}

status() {
  local name
  for name in "${names[@]}"; do
    if runs "$name"; then echo "$name runs, pid $(pid_of "$name")"; else echo "$name is down"; fi
  done
  status_of_group || echo "no group is registered"
}

# The first line of the status: group broker-a  leader 2 (127.0.0.1:10921)  term 3
kill_leader() {
  local line id term name pid
  line="$(status_of_group | head -n 1)"
  id="$(sed -n 's/.*leader \([0-9]*\) .*/\1/p' <<<"$line")"
  term="$(sed -n 's/.*term \([0-9]*\).*/\1/p' <<<"$line")"
  [ -n "$id" ] || { echo "no leader is known" >&2; exit 1; }
  name="n$((id - 1))"
  pid="$(pid_of "$name")"
  kill -KILL "$pid"
  echo "killed $name, pid $pid, leader in term $term"
}

stop() {
  local name
  for name in n0 n1 n2 ns0 ns1; do
    if runs "$name"; then kill -TERM "$(pid_of "$name")"; fi
  done
  for name in "${names[@]}"; do
    for _ in $(seq 1 100); do runs "$name" || break; sleep 0.1; done
    if runs "$name"; then
      echo "$name did not stop within 10 s" >&2
      exit 1
    fi
    rm -f "$data/$name.pid"
  done
  echo "stopped"
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  status) status ;;
  kill-leader) kill_leader ;;
  *)
    sed -n '2,12p' "$0" | sed 's/^# \{0,1\}//' >&2
    exit 2
    ;;
esac
