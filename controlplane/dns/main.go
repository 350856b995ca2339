// Command coredns is CoreDNS with the plug-ins that a cluster's DNS uses and no others.
//
// Upstream's own main links every plug-in, among them the clients of three clouds, etcd and nomad. Leaving them out
// halves the program and the list of modules that somebody has to watch.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/debug"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metadata"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/minimal"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/timeouts"
	_ "github.com/coredns/coredns/plugin/whoami"
)

func main() {
	// The order is upstream's: each plug-in sees what those below it answer.
	dnsserver.Directives = []string{
		"root", "metadata", "timeouts", "reload", "bufsize", "bind", "debug", "ready", "health", "prometheus",
		"errors", "log", "loadbalance", "rewrite", "acl", "cache", "minimal", "template", "hosts", "kubernetes",
		"loop", "forward", "whoami",
	}
	go trimPages()
	coremain.Run()
}
