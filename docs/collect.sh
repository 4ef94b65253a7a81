#!/bin/sh
# Writes what a node's kernel holds of its network into a folder, for `kubenet trace --dump` and `kubenet drift --dump`.
#
#   sh collect.sh [FOLDER]        (default: a folder named after the node, which must not exist yet)
#
# It only reads: every command below lists something. It installs nothing, changes nothing and talks to nobody; the folder is
# the only thing that it writes. Run it as root, since the kernel shows its rules to nobody else. What is not installed or not
# allowed is left out and named. Read what it wrote before you hand it on: it holds the addresses of your pods and the
# connections of their users.

set -u
LC_ALL=C
export LC_ALL
umask 077

node=$(uname -n)
folder=${1:-$node}
mkdir "$folder" || exit 2

# save FILE COMMAND [WORD…]: what the command prints becomes the file.
save() {
    file=$folder/$1
    shift
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "left out: $1 is not installed" >&2
        return
    fi
    if ! "$@" >"$file" 2>"$folder/.error"; then
        echo "failed: $*: $(head -n 1 "$folder/.error")" >&2
        # What it printed before it failed is kept.
        test -s "$file" || rm -f "$file"
    fi
    rm -f "$folder/.error"
}

save ip-link.txt ip -d link show
save ip-addr.txt ip addr show
save ip-route.txt ip route show table all
save ip-6-route.txt ip -6 route show table all
save ip-rule.txt ip rule show
save ip-6-rule.txt ip -6 rule show
save ip-neigh.txt ip neigh show
save bridge-fdb.txt bridge fdb show
save ss-lntu.txt ss -lntu
save iptables-save.txt iptables-save
save ip6tables-save.txt ip6tables-save
save nft-list-ruleset.txt nft list ruleset
save ipset-save.txt ipset save
save ipvsadm.txt ipvsadm -Sn
save conntrack.txt conntrack -L
save sysctl.txt sysctl -e \
    net.ipv4.ip_forward \
    net.ipv4.ip_default_ttl \
    net.ipv4.icmp_echo_ignore_all \
    net.ipv4.fib_multipath_hash_policy \
    net.ipv4.conf.all.rp_filter \
    net.ipv4.conf.all.accept_local \
    net.ipv4.conf.all.route_localnet \
    net.ipv4.conf.all.send_redirects \
    net.ipv4.conf.all.arp_ignore \
    net.ipv6.conf.all.forwarding \
    net.ipv6.conf.all.disable_ipv6 \
    net.bridge.bridge-nf-call-iptables \
    net.netfilter.nf_conntrack_max \
    net.netfilter.nf_conntrack_tcp_timeout_established \
    net.netfilter.nf_conntrack_tcp_timeout_close_wait \
    net.netfilter.nf_conntrack_udp_timeout \
    net.netfilter.nf_conntrack_udp_timeout_stream \
    net.netfilter.nf_conntrack_tcp_be_liberal
# The same for each link, which has its own values of these three.
save sysctl-links.txt sysctl -a -r '^net\.ipv4\.conf\..*\.(rp_filter|accept_local|route_localnet)$'

echo "written to $folder, for kubenet: --dump $node=$folder"
