# Receives a file on standard input. Arguments: path, size, SHA-256, mode, offset (bytes that are there already), 1 if the
# input is compressed. Answers one line:
#   ok           the file is there, whole
#   short SIZE   only so much has arrived; it is kept
#   bad SUM      what arrived has another SHA-256; it was removed
#   full FREE    the disk is full, with FREE KiB left (or -1) after what arrived was removed
export LC_ALL=C
p=$1 size=$2 want=$3 mode=$4 offset=$5 read=cat
[ "$6" = 1 ] && read="gzip -dc"
d=$(dirname "$p")
free() { df -Pk "$d" 2>/dev/null | { read -r _; read -r _ _ _ f _ && echo "$f" || echo -1; }; }
full() { rm -f "$p.part"; echo "full $(free)"; exit 0; }
if [ -d "$p" ]; then echo "$p is a folder" >&2; exit 1; fi
e=$(mkdir -p "$d" 2>&1) || case $e in *"No space"*) full ;; *) echo "$e" >&2; exit 1 ;; esac
umask 077
[ "$offset" -gt 0 ] || rm -f "$p.part"
e=$({ $read >>"$p.part"; } 2>&1) || case $e in
	*"No space"* | *"quota"*) full ;;
	*"unexpected end"*) ;;
	*) echo "$e" >&2; exit 1 ;;
esac
n=$(($(wc -c <"$p.part")))
if [ "$n" -lt "$size" ]; then echo "short $n"; exit 0; fi
got=$(sha256sum <"$p.part" | cut -c1-64)
if [ "$got" != "$want" ]; then rm -f "$p.part"; echo "bad $got"; exit 0; fi
chmod "$mode" "$p.part" && mv -f "$p.part" "$p" && echo ok
