# Tells what is there of files. Arguments, per file: path, size, SHA-256, mode. Answers one line per file:
#   same                       the file is there as wanted
#   part SIZE TAIL FREE GZIP   SIZE bytes of it arrived earlier, the last MiB of them has the SHA-256 TAIL (or -); the disk
#                              has FREE KiB left (or -1); GZIP is 1 if gzip can be used
export LC_ALL=C
command -v sha256sum >/dev/null || { echo "sha256sum is missing" >&2; exit 127; }
gz=0
command -v gzip >/dev/null && gz=1
sum() { sha256sum | cut -c1-64; }
free() { df -Pk "$1" 2>/dev/null | { read -r _; read -r _ _ _ f _ && echo "$f" || echo -1; }; }
while [ $# -ge 4 ]; do
	p=$1 size=$2 want=$3 mode=$4
	shift 4
	if [ -f "$p" ] && [ "$(wc -c <"$p")" -eq "$size" ] && [ "$(sum <"$p")" = "$want" ]; then
		chmod "$mode" "$p" && echo same
		continue
	fi
	n=0 t=-
	if [ -f "$p.part" ]; then
		n=$(($(wc -c <"$p.part")))
		[ "$n" -eq 0 ] || t=$(tail -c 1048576 "$p.part" | sum)
	fi
	d=$(dirname "$p")
	while [ ! -d "$d" ]; do d=$(dirname "$d"); done
	echo "part $n $t $(free "$d") $gz"
done
