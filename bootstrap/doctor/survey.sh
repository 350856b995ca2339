# Tells what a machine is like, for doctor. Changes nothing; a temporary file in each folder that programs may be carried to
# is removed at once. Writes key=value lines; the last is end=1. Arguments: name of the cluster, then its machines' names.
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"
say() { printf '%s=%s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }
limit() { if have timeout; then timeout "$@"; else shift; "$@"; fi; }
first() { read -r line <"$1" 2>/dev/null && echo "$line"; }
say time "$(date +%s.%N)"
say uid "$(id -u)"
say arch "$(uname -m)"
say kernel "$(uname -r)"
say hostname "$(uname -n)"
say machine "$(first /etc/machine-id)"
say boot "$(first /proc/sys/kernel/random/boot_id)"
say zone "$(date +%z)"
say os "$(sed -n 's/^ID\(_LIKE\)*=//p' /etc/os-release 2>/dev/null | tr -d '"' | tr '\n' ' ')"
say cpus "$(grep -c '^processor' /proc/cpuinfo)"
while read -r k v _; do
	case $k in MemTotal:) say memory "$v" ;; MemAvailable:) say available "$v"; break ;; esac
done </proc/meminfo
{ read -r _; while read -r f _ k _; do say swap "$f $k"; done; } </proc/swaps 2>/dev/null
if [ -d /run/systemd/system ]; then say init systemd; elif [ -e /run/openrc/softlevel ]; then say init openrc; elif [ -d /etc/service ]; then say init runit; fi
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
	say cgroup 2
	say controllers "$(cat /sys/fs/cgroup/cgroup.controllers)"
elif [ -d /sys/fs/cgroup/memory ]; then
	say cgroup 1
	say controllers "$(ls /sys/fs/cgroup | tr '\n,' '  ')"
fi
for t in mount umount nft sha256sum nsenter ip iptables conntrack ethtool tc socat modprobe apparmor_parser; do
	have $t && say tool $t
done

# What the kernel can: from its configuration where that can be read, else from its modules.
config() { if [ -r /proc/config.gz ]; then zcat /proc/config.gz; else cat "/boot/config-$(uname -r)"; fi 2>/dev/null; }
config | sed -n 's/^CONFIG_\(NAMESPACES\|NET_NS\|PID_NS\|IPC_NS\|UTS_NS\|CGROUPS\|CGROUP_BPF\|CGROUP_CPUACCT\|CGROUP_FREEZER\|CGROUP_PIDS\|CGROUP_SCHED\|CPUSETS\|FAIR_GROUP_SCHED\|CFS_BANDWIDTH\|MEMCG\|INET\|PROC_FS\|SECCOMP\|SECCOMP_FILTER\|OVERLAY_FS\|VXLAN\|VETH\|BRIDGE\|BRIDGE_NETFILTER\|NF_CONNTRACK\|NF_TABLES\|NFT_CT\|NFT_NAT\|NFT_MASQ\|NFT_FIB_INET\|NFT_NUMGEN\)=\([ym]\).*/config=\1 \2/p'
for m in overlay br_netfilter vxlan veth bridge nf_conntrack nf_tables; do
	if [ -d /sys/module/$m ] || modprobe -n -q $m 2>/dev/null; then say module $m; fi
done
grep -qw overlay /proc/filesystems && say module overlay
[ ! -d /proc/sys/net/bridge ] || say module br_netfilter
nft list tables >/dev/null 2>&1 && say module nf_tables
for k in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables kernel/pid_max; do
	w=ro
	[ ! -w /proc/sys/$k ] || w=rw
	[ ! -r /proc/sys/$k ] || say sysctl "$k $w $(cat /proc/sys/$k)"
done
grep -sHE '^[[:space:]]*(net[./]ipv4[./](ip_forward|conf[./]all[./]forwarding)|net[./]bridge[./]bridge-nf-call-iptables)[[:space:]]*=[[:space:]]*0' \
	/etc/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf | while IFS= read -r l; do say override "$l"; done

# Disks: free KiB, free inodes in percent (or -), file system, options and mount point of what a folder is or will be on.
for p in / /var/lib/containerd /var/lib/etcd /var/lib/kubelet /var/lib/provision /var/log /opt/provision /usr/local/bin /etc; do
	d=$p
	while [ ! -d "$d" ]; do d=${d%/*} && d=${d:-/}; done
	f=$(df -Pk "$d" 2>/dev/null | { read -r _; read -r _ _ _ f _ at && echo "$f $at"; })
	i=$(df -Pi "$d" 2>/dev/null | { read -r _; read -r _ _ _ _ u _ && echo "${u%\%}"; })
	at=${f#* }
	o=$(while read -r dev m t o _; do [ "$m" != "$at" ] || r="$dev $t $o"; [ -z "$r" ] || last=$r; done </proc/self/mounts; echo "$last")
	w=rw
	[ -w "$d" ] || w=ro
	say disk "$p ${f%% *} ${i:--} $w $at $o"
done
for d in /run /var/tmp /tmp /root /var/lib; do
	t=$(mktemp "$d/.node-scout-XXXXXX" 2>/dev/null) || continue
	printf '#!/bin/sh\nexit 0\n' >"$t" && chmod 700 "$t" && "$t" 2>/dev/null && say exec "$d"
	rm -f "$t"
done

# Names.
while read -r k v _; do
	case $k in nameserver) say nameserver "$v" ;; esac
done </etc/resolv.conf 2>/dev/null
if [ -f /run/systemd/resolve/resolv.conf ]; then
	while read -r k v _; do case $k in nameserver) say upstream "$v" ;; esac; done </run/systemd/resolve/resolv.conf
fi
if have getent; then
	a=$(limit 4 getent ahosts "$(uname -n)" | while read -r a _; do echo "$a"; done | sort -u | tr '\n' ' ')
	say resolves "$a"
fi
cat /etc/environment 2>/dev/null | sed -n 's/^\(export \)*\([a-zA-Z]*_[pP][rR][oO][xX][yY]\)=.*/proxy=\2/p'

# The network.
{ read -r _; while read -r dev dst gw _ _ _ _ mask _; do say route "$dst $mask $gw $dev"; done; } </proc/net/route
grep -h ' 0A 0' /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ a _; do say listen "$a"; done
if have ss; then
	ss -Hltnp 2>/dev/null | while read -r _ _ _ a _ u; do say listener "${a##*:} $u"; done
fi
for k in /etc/ssh/ssh_host_*_key.pub; do
	[ ! -f "$k" ] || { read -r t v _ <"$k" && say hostkey "$t $v"; }
done

# Firewalls: rules of others than a node's own, at most so many bytes.
if have nft; then
	nft list tables 2>/dev/null | while read -r _ f t; do
		case $t in kube-proxy | flannel-* | provision*) ;; *) nft list table "$f" "$t" 2>/dev/null ;; esac
	done | head -c 60000 | sed 's/^/nft=/'
fi
for i in iptables ip6tables; do
	t=$i-legacy
	have $t || t=$i
	! have $t || limit 5 $t -S 2>/dev/null | grep -E '^-P [A-Z]+ DROP|-j (DROP|REJECT)' | grep -v KUBE | head -n 40 | sed "s/^/$i=/"
done
[ ! -f /etc/ufw/ufw.conf ] || ! grep -qi '^ENABLED=yes' /etc/ufw/ufw.conf || say firewall ufw

# What runs and what others have left.
cat /proc/[0-9]*/comm 2>/dev/null | sort -u | while read -r c; do
	case $c in
	firewalld) say firewall firewalld ;;
	chronyd | ntpd | systemd-timesyn* | openntpd | ntpsec) say timekeeper "$c" ;;
	dockerd | containerd | crio | kubelet | k3s* | rke2* | k0s* | kubelite | kube-apiserver | etcd | kube-proxy | cri-dockerd | podman | node-agent) say runs "$c" ;;
	esac
done
for p in /etc/kubernetes/manifests/*.yaml /etc/kubernetes/*.conf /etc/kubernetes/pki/ca.crt /var/lib/etcd/member /var/lib/kubelet/config.yaml \
	/var/lib/kubelet/pki /var/lib/rancher /var/lib/k0s /var/snap/microk8s /etc/cni/net.d/*.conf* /opt/provision/* /usr/local/bin/node-agent \
	/etc/systemd/system/node-agent.service /etc/service/node-agent /etc/systemd/system/kubelet.service /lib/systemd/system/kubelet.service; do
	[ ! -e "$p" ] || say left "$p"
done
for l in cni0 flannel.1 cilium_host vxlan.calico tunl0 kube-ipvs0 docker0 kube-bridge weave; do
	[ ! -e /sys/class/net/$l ] || [ $l = tunl0 ] || say left-link $l
done
grep -c ' /var/lib/kubelet/pods/' /proc/self/mounts | { read -r n; [ "$n" = 0 ] || say left-mounts "$n"; }
if [ -f /etc/provision/node.json ]; then say node "$(tr -d '\n' </etc/provision/node.json)"; fi
if [ -f /var/lib/provision-metal/claim.json ]; then say claim "$(tr -d '\n' </var/lib/provision-metal/claim.json)"; fi

# Security modules.
[ ! -r /sys/fs/selinux/enforce ] || say selinux "$(first /sys/fs/selinux/enforce)"
[ ! -r /sys/module/apparmor/parameters/enabled ] || say apparmor "$(first /sys/module/apparmor/parameters/enabled)"
say end 1
