// Command kube is upstream Kubernetes, etcd and flannel as one program of many names.
//
// The programs share four fifths of their code, so one file is a fifth of the size of seven. The name it is called by
// picks the program: bin/kubelet is a link to bin/kube. Each still runs as a process of its own, with its own flags, and
// is restarted and upgraded alone. Called by another name, the first argument picks: kube kubectl get nodes.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // CronJobs name time zones, and a node may lack the database.

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
	"go.etcd.io/etcd/etcdutl/v3/etcdutl"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs are the names this program answers to. A function returns the exit code; those of etcd and kubectl may not
// return.
func programs() map[string]func() int {
	return map[string]func() int{
		"etcd":                    runEtcd,
		"etcdctl":                 runEtcdctl,
		"etcdutl":                 runEtcdutl,
		"flanneld":                runFlanneld,
		"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
		"kube-controller-manager": func() int { return cli.Run(manager.NewControllerManagerCommand()) },
		"kube-proxy":              func() int { return cli.Run(proxy.NewProxyCommand()) },
		"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
		"kubectl":                 runKubectl,
		"kubelet":                 func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	}
}

func main() {
	// etcdctl's packages switch this on for everybody when they are linked in.
	cobra.EnablePrefixMatching = false
	known := programs()
	run, ok := known[filepath.Base(os.Args[0])]
	if !ok && len(os.Args) > 1 {
		if run, ok = known[os.Args[1]]; ok {
			os.Args = os.Args[1:]
		}
	}
	if !ok {
		fmt.Fprintf(os.Stderr, "usage: kube PROGRAM [ARGUMENTS]\n\nPrograms: %s\n", strings.Join(names(known), ", "))
		os.Exit(2)
	}
	go trimPages()
	os.Exit(run())
}

func names(known map[string]func() int) []string {
	var list []string
	for name := range known {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}

func runEtcdctl() int {
	cobra.EnablePrefixMatching = true
	ctlv3.MustStart()
	return 0
}

// runEtcdutl assembles upstream's command anew, because upstream does so in a package main.
func runEtcdutl() int {
	cobra.EnablePrefixMatching = true
	root := &cobra.Command{Use: "etcdutl", Short: "An administrative command line tool for etcd3."}
	root.PersistentFlags().DurationVar(&etcdutl.FlockTimeout, "timeout", 10*time.Second, "time to wait for the lock on the db file, 0 to wait for ever")
	root.PersistentFlags().StringVarP(&etcdutl.OutputFormat, "write-out", "w", "simple", "set the output format (fields, json, protobuf, simple, table)")
	root.AddCommand(
		etcdutl.NewDefragCommand(),
		etcdutl.NewSnapshotCommand(),
		etcdutl.NewHashKVCommand(),
		etcdutl.NewMigrateCommand(),
		etcdutl.NewVersionCommand(),
	)
	if root.Execute() != nil {
		return 1
	}
	return 0
}

// runKubectl sets the verbosity before the command is constructed, as upstream's main does: constructing it already
// looks for plug-ins and reads .kuberc, which both log.
func runKubectl() int {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}
