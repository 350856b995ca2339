# What provider metal does on a host, as root: POSIX sh with the tools that coreutils and busybox both have.
# Arguments: the user who logs in, a word that no other run has, one of the functions below, its arguments.
set -eu
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"
umask 022
user=$1 word=$2
top=/var/lib/provision-metal
begin='# provision-metal begin' end='# provision-metal end'

# All that a node has, so that a host with any of it is not taken, and all of it is removed.
ours='/etc/kubernetes /etc/provision /etc/cni /var/lib/etcd /var/lib/kubelet /var/lib/containerd /var/lib/cni /run/flannel /run/cni
/run/containerd /var/log/pods /var/log/containers /opt/provision /var/lib/provision /var/log/provision /run/provision
/etc/systemd/system/node-agent.service /etc/init.d/node-agent /etc/service/node-agent /usr/local/bin/node-agent'
# What a node changes in the kernel.
settings='net/ipv4/ip_forward net/ipv4/conf/all/forwarding net/ipv4/conf/all/route_localnet net/ipv6/conf/all/forwarding
net/ipv4/tcp_retries2 net/bridge/bridge-nf-call-iptables net/bridge/bridge-nf-call-ip6tables net/netfilter/nf_conntrack_max
net/netfilter/nf_conntrack_buckets net/netfilter/nf_conntrack_tcp_be_liberal net/netfilter/nf_conntrack_tcp_timeout_established
net/netfilter/nf_conntrack_tcp_timeout_close_wait
fs/inotify/max_user_instances fs/inotify/max_user_watches vm/overcommit_memory vm/panic_on_oom kernel/panic
kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes'

say() { printf '%s=%s\n' "$1" "$2"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# first sets x to a file's first line; false if there is none.
first() { x= && [ -r "$1" ] && read -r x <"$1"; } 2>/dev/null

# look tells what must be known of the host and changes nothing: key=value lines. It is called often, so it starts few
# programs.
look() {
	say uid "$(id -u)"
	say uname "$(uname -nm)"
	say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo)"
	while read -r k v _; do
		case $k in MemTotal:) say memory "$v"; break ;; esac
	done </proc/meminfo
	df -Pk /var/lib 2>/dev/null | { read -r _; read -r _ t _ f _ at && say disk "$t $f" && isreadonly "$at" && say refuse "its root is read-only"; } || :
	! first /etc/machine-id || say machine "$x"
	for k in /etc/ssh/ssh_host_*_key.pub; do
		! first "$k" || say key "$x"
	done
	[ ! -r /etc/os-release ] || (. /etc/os-release; say os "${ID:-} ${VERSION_ID:-}")
	if [ -d /run/systemd/system ]; then say init systemd
	elif [ -e /run/openrc/softlevel ]; then say init openrc
	elif [ -d /etc/service ]; then say init runit; fi
	! first /sys/fs/selinux/enforce || say selinux "$x"
	if first $top/claim.json; then say claim "$x"; else refusals; fi
	for f in $top/ledger/*/*/*; do
		case ${f##*/} in
		network.json) ! first "$f" || say network "$x" ;;
		machine.*) ! first "$f" || say entry "$x" ;;
		released.*) say released "${f##*/released.}" ;;
		esac
	done
}

# isreadonly says whether what is mounted there cannot be written to. To root, [ -w ] of some shells says that all can.
isreadonly() {
	how=
	while read -r _ p _ o _; do
		[ "$p" != "$1" ] || how=$o
	done </proc/mounts
	case $how in ro | ro,*) return 0 ;; esac
	return 1
}

refusals() {
	running=' '
	for f in /proc/[0-9]*/comm; do
		! first "$f" || running="$running$x "
	done
	! runs k3s k3s-server k3s-agent && [ ! -e /etc/rancher/k3s ] || say refuse "it is a node of a k3s cluster"
	! runs rke2 && [ ! -e /etc/rancher/rke2 ] || say refuse "it is a node of an RKE2 cluster"
	! runs k0s && [ ! -e /etc/k0s ] && [ ! -e /var/lib/k0s ] || say refuse "it is a node of a k0s cluster"
	[ ! -e /var/snap/microk8s ] || say refuse "it is a node of a MicroK8s cluster"
	! runs kubelet kube-apiserver || say refuse "it is a node of a Kubernetes cluster: a kubelet or an API server runs on it"
	[ ! -e /etc/provision/node.json ] || say refuse "it is a node of another cluster of provision: run node-agent reset there if that cluster is not needed any more"
	! runs dockerd || say refuse "Docker runs on it"
	! runs crio || say refuse "CRI-O runs on it"
	! runs containerd || runs dockerd || say refuse "containerd runs on it"
	for p in $ours; do
		file "$p" || say refuse "it has $x, which would be in the way: remove $p there"
	done
}

# runs says whether a program of one of the names runs.
runs() {
	for n; do
		case $running in *" $n "*) return 0 ;; esac
	done
	return 1
}

# file is true if there is no file at or below the path; else it sets x to one.
file() {
	x=$1
	[ -d "$1" ] && [ ! -L "$1" ] || { [ ! -e "$1" ] && [ ! -L "$1" ]; return; }
	for f in "$1"/* "$1"/.[!.]*; do
		if [ -e "$f" ] || [ -L "$f" ]; then
			x=$(find "$1" ! -type d 2>/dev/null | head -n 1)
			[ -z "$x" ]
			return
		fi
	done
}

# new PATH TEXT makes a file unless it is there, in one step; it writes "won", or what is there.
new() {
	t=${1%/*}/.new.$word
	for _ in 1 2 3; do # somebody may remove the folder when it is empty
		mkdir -p "${1%/*}" && printf '%s\n' "$2" 2>/dev/null >"$t" && break
	done
	[ -s "$t" ] || die "cannot write $1: $(df -Pk "${1%/*}" 2>&1 | tail -n 1)"
	if ln "$t" "$1" 2>/dev/null; then rm -f "$t"; echo won; return; fi
	rm -f "$t"
	cat "$1"
}

# put PATH TEXT makes a file or replaces it.
put() {
	mkdir -p "${1%/*}"
	t=${1%/*}/.new.$word
	printf '%s\n' "$2" >"$t"
	mv -f "$t" "$1"
}

# swap PATH ID TEXT replaces a file that is about the ID; it writes "done" or "gone".
swap() {
	is "$1" "$2" || { echo gone; return; }
	put "$1" "$3"
	echo done
}

is() { grep -qF "\"id\":\"$2\"" "$1" 2>/dev/null; }

# del PATHS removes files, and folders of ours that are empty then.
del() {
	for p; do
		rm -rf "$p"
		p=${p%/*}
		while [ "${p#$top}" != "$p" ]; do
			find "$p" -name '.new.*' -mmin +2 -exec rm -f {} + 2>/dev/null || :
			rmdir "$p" 2>/dev/null || break
			p=${p%/*}
		done
	done
}

# prepare ID NAME KEYS keeps what Delete puts back, names the host, and lets the keys in.
prepare() {
	is $top/claim.json "$1" || die "the claim is gone"
	alone
	keep
	keyfile
	strip "$keys"
	[ -e "$keys" ] || { : >"$keys"; chmod 600 "$keys"; chown "$owner" "$keys"; }
	prepend "$keys" "$3"
	# sudo and others look the host's own name up, and wait for name servers if it is not there before the host has it.
	grep -qwF -- "$2" /etc/hosts 2>/dev/null || { strip /etc/hosts; prepend /etc/hosts "127.0.1.1	$2"; }
	if [ "$(uname -n)" != "$2" ]; then printf '%s\n' "$2" >/proc/sys/kernel/hostname 2>/dev/null || hostname "$2"; fi
	[ ! -e /etc/hostname ] || [ "$(cat /etc/hostname)" = "$2" ] || printf '%s\n' "$2" >/etc/hostname
}

# alone waits until nobody else of the same owner prepares this host. One that died in the middle is waited for in vain.
alone() {
	n=0
	until mkdir $top/.busy 2>/dev/null; do
		n=$((n + 1))
		[ $n -lt 100 ] || break
		sleep 0.1 2>/dev/null || sleep 1
	done
	trap 'rmdir $top/.busy 2>/dev/null || :' EXIT
}

keep() {
	[ ! -d $top/kept ] || return 0
	new=$top/.kept.$$
	rm -rf "$new"
	mkdir "$new"
	uname -n >"$new"/hostname
	[ ! -e /etc/hostname ] || cp -p /etc/hostname "$new"/etc-hostname
	for s in $settings; do
		v=$(cat "/proc/sys/$s" 2>/dev/null) && printf '%s %s\n' "$s" "$v"
	done >"$new"/settings || :
	for p in $ours; do
		[ ! -d "$p" ] || find "$p" -type d -exec stat -c '%a %u:%g %n' {} +
	done >"$new"/folders
	keyfile
	[ -e "$keys" ] || echo "$keys" >"$new"/made
	[ -d "${keys%/*}" ] || { echo "${keys%/*}" >>"$new"/made; mkdir -p "${keys%/*}"; chmod 700 "${keys%/*}"; chown "$owner" "${keys%/*}"; }
	# Another of the same owner may do this at the same moment: the first is kept, and changes nothing before.
	[ -d $top/kept ] || mv "$new" $top/kept
	rm -rf "$new" "$top/kept/${new##*/}"
}

# keyfile finds the file of the keys that let the user in.
keyfile() {
	home=$(awk -F: -v u="$user" '$1 == u { print $6 }' /etc/passwd)
	[ -n "$home" ] || home=$(getent passwd "$user" | cut -d: -f6)
	[ -n "$home" ] || die "user $user has no home"
	owner="$user:$(id -g "$user")"
	keys=$(sshd -T 2>/dev/null | awk '$1 == "authorizedkeysfile" { print $2; exit }') || keys=
	keys=$(printf '%s' "${keys:-.ssh/authorized_keys}" | sed "s|%h|$home|g; s|%u|$user|g")
	case $keys in
	none) die "its SSH server lets nobody in by keys: AuthorizedKeysFile is none" ;;
	/*) ;;
	*) keys=$home/$keys ;;
	esac
}

# prepend FILE TEXT puts lines before a file's own, between marks, so that they can be taken out exactly.
prepend() {
	t=$1.provision
	cp -p "$1" "$t"
	{ printf '%s\n' "$begin" "$2" "$end"; cat "$1"; } >"$t"
	replace "$1"
}

strip() {
	rm -f "$1.provision"
	grep -qxF "$begin" "$1" 2>/dev/null || return 0
	cp -p "$1" "$1.provision"
	sed "/^$begin\$/,/^$end\$/d" "$1" >"$1.provision"
	replace "$1"
}

replace() {
	mv -f "$1.provision" "$1" 2>/dev/null || { cat "$1.provision" >"$1"; rm -f "$1.provision"; } # a file may be a mount
	! command -v restorecon >/dev/null 2>&1 || restorecon "$1" 2>/dev/null || :
}

# wipe ID removes all that makes the host a node.
wipe() {
	is $top/claim.json "$1" || { echo gone; return; }
	if [ -x /usr/local/bin/node-agent ]; then
		/usr/local/bin/node-agent reset >/dev/null || die "node-agent reset failed"
	fi
	stragglers
	for p in $ours; do
		file "$p" || rm -rf "$p" 2>/dev/null || find "$p" -mindepth 1 -delete 2>/dev/null || : # a folder may be a mount
	done
	for p in $ours; do
		file "$p" || die "cannot remove $x"
	done
	echo done
}

# stragglers removes what is left of a node whose agent is not there to do it.
stragglers() {
	if [ -d /run/systemd/system ] && [ -e /etc/systemd/system/node-agent.service ]; then
		systemctl disable --now node-agent >/dev/null 2>&1 || :
		rm -f /etc/systemd/system/node-agent.service
		systemctl daemon-reload || :
	elif [ -e /etc/init.d/node-agent ]; then
		rc-service node-agent stop >/dev/null 2>&1 || :
		rc-update del node-agent >/dev/null 2>&1 || :
	fi
	rm -rf /etc/service/node-agent
	for e in /proc/[0-9]*/exe; do
		case $(readlink "$e" 2>/dev/null) in
		/opt/provision/*) e=${e%/exe}; kill -9 "${e#/proc/}" 2>/dev/null || : ;;
		esac
	done
	awk '$2 ~ "^/(var/lib/kubelet|run/containerd|var/lib/containerd)/" { print $2 }' /proc/mounts | sort -r | while read -r m; do
		umount -l "$m" 2>/dev/null || :
	done
	[ -e /sys/class/net/cni0 ] || [ -e /sys/class/net/flannel.1 ] || return 0
	for l in cni0 flannel.1; do ip link del "$l" 2>/dev/null || :; done
	for t in 'ip kube-proxy' 'ip6 kube-proxy' 'ip flannel-ipv4' 'ip6 flannel-ipv6'; do nft delete table $t 2>/dev/null || :; done
}

# restore ID gives the host back its name, its keys and its settings.
restore() {
	is $top/claim.json "$1" || { echo gone; return; }
	keyfile
	strip "$keys"
	if [ -d $top/kept ]; then
		[ ! -e $top/kept/etc-hostname ] || cmp -s $top/kept/etc-hostname /etc/hostname || cat $top/kept/etc-hostname >/etc/hostname
		h=$(cat $top/kept/hostname)
		if [ "$(uname -n)" != "$h" ]; then printf '%s\n' "$h" >/proc/sys/kernel/hostname 2>/dev/null || hostname "$h"; fi
		while read -r s v; do
			[ "$(cat "/proc/sys/$s" 2>/dev/null | tr '\t' ' ')" = "$v" ] || printf '%s\n' "$v" 2>/dev/null >"/proc/sys/$s" || :
		done <$top/kept/settings 2>/dev/null
		while read -r m o p; do
			mkdir -p "$p" && chown "$o" "$p" && chmod "$m" "$p"
		done <$top/kept/folders
		if [ -f $top/kept/made ]; then
			while read -r p; do
				if [ -d "$p" ]; then rmdir "$p" 2>/dev/null || :; elif [ -f "$p" ] && [ ! -s "$p" ]; then rm -f "$p"; fi
			done <$top/kept/made
		fi
	fi
	strip /etc/hosts # after the name: see prepare
	echo done
}

# free ID gives the host back: the claim goes last.
free() {
	is $top/claim.json "$1" || { del $top/claim.json.none; echo gone; return; }
	rm -rf $top/kept $top/.kept* $top/.busy
	del $top/claim.json
	echo done
}

do=$3
shift 3
$do "$@"
