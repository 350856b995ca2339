#!/bin/sh
# Makes this machine node {{.Name}} of its cluster: fetches the node agent from the control plane, which proves itself by the
# authority below, and hands over to it.
umask 077
mkdir -p {{.Dir}} /usr/local/bin && cd {{.Dir}} || exit
cat >ca.crt <<'END'
{{.CA}}
END
cat >invitation.json <<'END'
{{.JSON}}
END
# The token is in files only: command lines can be seen by everybody.
echo 'Authorization: Bearer {{.Token}}' >header
echo 'header = Authorization: Bearer {{.Token}}' >wgetrc
cat >get.py <<'END'
import ssl, sys, urllib.request as u
tls = u.HTTPSHandler(context=ssl.create_default_context(cafile="ca.crt"))
token = dict([open("header").read().strip().split(": ", 1)])
res = u.build_opener(u.ProxyHandler({}), tls).open(u.Request(sys.argv[1], headers=token), timeout=60)
open("agent", "wb").write(res.read())
END
get() {
	if command -v curl; then
		curl -fsS --noproxy '*' --connect-timeout 3 --max-time 120 --cacert ca.crt -H @header -o agent "$1"
	elif command -v wget; then
		wget -nv --config=wgetrc --no-proxy --no-hsts --tries=1 --connect-timeout=3 --read-timeout=30 --ca-certificate=ca.crt -O agent "$1"
	else
		python3 get.py "$1"
	fi >/dev/null
}
tries=0
until [ -e found ]; do
	[ $((tries += 1)) -le 600 ] || exit
	for server in{{range .Servers}} {{.}}{{end}}; do
		get "https://$server/v1/agent" && echo "{{.Agent}}  agent" | sha256sum -c --status - && touch found && break
	done || sleep 1
done
chmod 755 agent && mv -f agent /usr/local/bin/node-agent || exit
exec /usr/local/bin/node-agent join invitation.json
