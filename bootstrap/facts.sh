# Tells what bootstrap must know of a machine, and changes nothing. Arguments: "all", or "node" to leave out all that only
# a machine's fitness and programs are judged by, then paths of files whose SHA-256 is wanted.
# Writes key=value lines; after a line "--" comes node.json.
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"
say() { printf '%s=%s\n' "$1" "$2"; }
machine() {
	say time "$(date +%s.%N)"
	say uid "$(id -u)"
	say arch "$(uname -m)"
	say kernel "$(uname -r)"
	say hostname "$(uname -n)"
	while read -r k v _; do
		case $k in MemTotal:) say memory "$v"; break ;; esac
	done </proc/meminfo
	if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
		say cgroup 2
		say controllers "$(cat /sys/fs/cgroup/cgroup.controllers)"
	elif [ -d /sys/fs/cgroup/memory ]; then
		say cgroup 1
		say controllers "$(ls /sys/fs/cgroup | tr '\n,' '  ')"
	fi
	if [ -d /run/systemd/system ]; then say init systemd; elif [ -e /run/openrc/softlevel ]; then say init openrc; elif [ -d /etc/service ]; then say init runit; fi
	for t in mount nft sha256sum umount blkid blockdev e2fsck fsck mkfs.ext4 resize2fs; do command -v $t >/dev/null && say tool $t; done
	if grep -qw overlay /proc/filesystems || modprobe -n -q overlay 2>/dev/null; then say overlay 1; fi
	for p in /opt/provision /var/lib/provision; do
		d=$p
		while [ ! -d "$d" ]; do d=$(dirname "$d"); done
		df -Pk "$d" 2>/dev/null | { read -r _; read -r dev _ _ f _ && say disk "$p $f $dev"; }
	done
	# A node's own programs listen on its ports.
	if [ ! -f /etc/provision/node.json ]; then
		grep -h ' 0A 0' /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ a _; do say listen "${a##*:}"; done
		if command -v ss >/dev/null; then
			ss -Hltnp 2>/dev/null | while read -r _ _ _ a _ u; do say listener "${a##*:} $u"; done
		fi
	fi
	[ ! -f /usr/local/bin/node-agent ] || say agent "$(sha256sum </usr/local/bin/node-agent | cut -c1-64)"
	for m in /opt/provision/*/manifest.json; do
		d=${m%/*} && d=${d##*/}
		[ ! -f "$m" ] || [ "$d" = current ] || say bundle "$d"
	done
	[ ! -L /opt/provision/current ] || say current "$(basename "$(readlink /opt/provision/current)")"
	if ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q 'bin/node-agent (deleted)'; then say stale 1; fi
}
[ "$1" != all ] || machine
shift
if [ -e /etc/systemd/system/node-agent.service ] || [ -e /etc/init.d/node-agent ] || [ -e /etc/service/node-agent/run ]; then say enabled 1; fi
[ ! -e /var/lib/kubelet/pki/kubelet-client-current.pem ] || say joined 1
for p; do
	[ ! -f "$p" ] || say file "$(sha256sum <"$p" | cut -c1-64) $p"
done
if [ -S /run/provision/agent.sock ]; then
	s=$(/usr/local/bin/node-agent status --json 2>/dev/null) && say status "$(echo "$s" | tr '\n' ' ')"
fi
echo --
[ ! -f /etc/provision/node.json ] || cat /etc/provision/node.json
