#!/bin/sh
# A network of its own: a bridge with the VM's card, the servers of the tree (192.0.2.10), and in a
# second namespace a DHCP server that knows nothing of booting (192.0.2.1). Run by unshare -rnpf.
# $1: a folder with commands.json and dnsmasq.conf. Ends with 0 when the stand-in has ended the VM.
set -eu
folder=$1
PATH=/usr/sbin:/sbin:$PATH
others=""
trap 'for one in $others; do kill "$one" 2>/dev/null || :; done' EXIT
run() { # a command of commands.json
	python3 -c 'import json, os, sys; c = json.load(open(sys.argv[1]))[sys.argv[2]]; os.execvp(c[0], c)' \
		"$folder/commands.json" "$1"
}

ip link set lo up
ip link add br0 type bridge forward_delay 0
ip addr add 192.0.2.10/24 dev br0
ip tuntap add tap0 mode tap
ip link set tap0 master br0
ip link add v0 type veth peer name v1
ip link set v0 master br0
for one in br0 tap0 v0; do ip link set "$one" up; done

unshare -n sleep 600 &
inner=$!
others="$others $inner"
sleep 0.5
ip link set v1 netns "$inner"
nsenter -t "$inner" -n sh -c 'ip addr add 192.0.2.1/24 dev v1; ip link set v1 up; ip link set lo up'
nsenter -t "$inner" -n dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=v1 \
	--bind-interfaces --user= --group= --log-dhcp --dhcp-range=192.0.2.50,192.0.2.60,10m \
	--dhcp-leasefile="$folder/leases" >"$folder/dhcp.log" 2>&1 &
others="$others $!"
dnsmasq --no-daemon --conf-file="$folder/dnsmasq.conf" --user= --group= \
	--dhcp-leasefile="$folder/proxy-leases" >"$folder/proxy.log" 2>&1 &
others="$others $!"
run serve >"$folder/serve.out" 2>"$folder/serve.log" &
others="$others $!"
for round in 1 2 3 4 5 6 7 8 9 10; do
	grep -q boot.ipxe "$folder/serve.out" && break
	sleep 0.5
done
status=0
run machine || status=$?
test "$status" = 1 # isa-debug-exit: twice the value written plus one
