#!/bin/bash
# slurm_node.sh NODE [WORDS...]: run a command on "node" 0 or 1: namespaces of this machine with a network address, process
# numbers, a /tmp and a host name of their own. Without a command, end everything that runs there. Needs root.
set -eu
node=$1
shift
folder=/run/decomposer-nodes
init=$folder/$node.init
mkdir -p "$folder/$node.tmp"

running() { [ -s "$init" ] && kill -0 "$(cat "$init")" 2> /dev/null; }

if [ $# -eq 0 ]; then
    if running; then kill -KILL "$(cat "$init")"; fi
    rm -f "$init"
    exit 0
fi

exec 9> "$folder/lock"
flock 9
if ! ip netns list | grep -q decomposer1; then
    ip netns add decomposer0
    ip netns add decomposer1
    ip link add link0 netns decomposer0 type veth peer name link1 netns decomposer1
    for number in 0 1; do
        ip -n "decomposer$number" addr add "10.99.0.$((number + 1))/24" dev "link$number"
        ip -n "decomposer$number" link set "link$number" up
        ip -n "decomposer$number" link set lo up
    done
    printf '127.0.0.1 localhost\n10.99.0.1 node0\n10.99.0.2 node1\n' > "$folder/hosts"
fi
if ! running; then
    ip netns exec "decomposer$node" unshare --uts --mount --pid --fork --mount-proc bash -c "
        hostname node$node
        mount --bind $folder/hosts /etc/hosts
        mount --bind $folder/$node.tmp /tmp
        exec sleep infinity" 9>&- < /dev/null > /dev/null 2>&1 &
    until pgrep -P "$!" -x sleep > "$init"; do sleep 0.2; done
fi
exec 9>&-
exec nsenter --target "$(cat "$init")" --net --pid --mount --uts --wd="$PWD" "$@"
