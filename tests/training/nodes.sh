#!/bin/bash
# Two machines on one: namespaces of network, host name and processes, joined by a cable. Called within
# `unshare --user --map-root-user --net`; the words are a command, which runs on both with NODE=0 and NODE=1. The addresses
# are 10.77.0.1 and 10.77.0.2, at the interface eth0. Leaves with the higher of the two exit codes.

# shellcheck disable=SC2016 # what stands in quotes is for the shell inside
inside='
    until [ -e "$CABLE/laid" ]; do sleep 0.05; done
    hostname "node$NODE" && ip link set lo up && ip addr add "10.77.0.$((NODE + 1))/24" dev eth0 && ip link set eth0 up
    exec "$@"
'
CABLE=$(mktemp -d)
export CABLE
trap 'rm -r "$CABLE"' EXIT
for node in 0 1; do
    NODE=$node unshare --net --uts --pid --fork --kill-child --mount-proc bash -c "$inside" node "$@" &
    nodes[node]=$!
    until [ "$(readlink "/proc/${nodes[node]}/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
done
ip link add cable0 type veth peer name cable1
for node in 0 1; do ip link set "cable$node" netns "${nodes[node]}" name eth0; done
exec 8< "/proc/${nodes[0]}/ns/net" 9< "/proc/${nodes[1]}/ns/net" # a node that ends must not take the cable with it
touch "$CABLE/laid"

highest=0
for node in "${nodes[@]}"; do
    wait "$node"
    code=$?
    [ "$code" -le "$highest" ] || highest=$code
done
exit "$highest"
