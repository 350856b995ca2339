#!/usr/bin/env bash
# Makes the example cluster, shows its nodes, and fetches the demo page through a Service. Run by `make demo`.
# Remove it again with: bin/provision destroy examples/local/cluster.hcl
set -euo pipefail
cd "$(dirname "$0")/../.."
file=examples/local/cluster.hcl
provision=bin/provision

[ "$(id -u)" = 0 ] || { echo "demo: machines on this host need root: sudo make demo" >&2; exit 1; }

start=$(date +%s.%N)
$provision apply "$file" --auto-approve --timings
$provision kubectl "$file" -- apply -f examples/local/web.yaml
$provision kubectl "$file" -- rollout status deployment/web --timeout=120s
$provision kubectl "$file" -- -n kube-system rollout status deployment/coredns --timeout=120s
echo
$provision kubectl "$file" -- get nodes -o wide
echo
address=$($provision kubectl "$file" -- get service web -o 'jsonpath={.spec.clusterIP}')
echo "The demo page, fetched from a machine through the Service ($address):"
page=$($provision ssh "$file" demo-workers-0 -- curl -fsS --max-time 10 --retry 20 --retry-delay 1 --retry-all-errors "http://$address/")
echo "$page" | sed -e '/<style>/,/<\/style>/d' -e 's/<[^>]*>/ /g' -e 's/  */ /g' | grep -v '^ *$' | head -20
printf '\nFrom apply to the page: %.1f s\n' "$(echo "$(date +%s.%N) - $start" | awk '{print $1 - $3}')"
echo "Remove it all again:    bin/provision destroy $file"
