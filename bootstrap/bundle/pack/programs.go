package main

// A program is something to build.
type program struct {
	name   string // of the component; also of the file that is built
	folder string // that holds its go.mod
	pkg    string // to build in there
	module string // whose version is the program's
	cgo    bool
	tags   string
	// stamps are linker variables that get the module's version. A value is a format: %s is the version, %t the
	// version's date.
	stamps map[string]string

	path  string   // in the bundle, if it runs on the node itself
	links []string // likewise
	image *image   // if it runs in a container
}

// An image is a container image to assemble around a program, on nothing.
type image struct {
	name  string // without the tag, which is the program's version, unless tag is set
	tag   string
	user  string
	first bool // to be imported before the kubelet starts
}

const (
	nobody      = "65532:65532" // what distroless images call nonroot
	clientStamp = "k8s.io/client-go/pkg/version."
	kubeStamp   = "k8s.io/component-base/version."
	cniStamp    = "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion"
)

// programs are all that is built, in the order of the bundle. kube is the first because the command line extracts it
// to have kubectl, and what a node starts first comes early.
func programs() []program {
	return []program{
		{
			name: "kube", folder: "controlplane/kube", pkg: ".", module: "k8s.io/kubernetes",
			stamps: map[string]string{
				kubeStamp + "gitVersion":   "%s",
				kubeStamp + "gitTreeState": "clean",
				kubeStamp + "buildDate":    "%t",
				kubeStamp + "gitCommit":    "",
				clientStamp + "gitVersion": "%s",
				clientStamp + "gitCommit":  "",
				clientStamp + "buildDate":  "%t",
			},
			path: "bin/kube",
			links: []string{"bin/etcd", "bin/etcdctl", "bin/etcdutl", "bin/flanneld", "bin/kube-apiserver",
				"bin/kube-controller-manager", "bin/kube-proxy", "bin/kube-scheduler", "bin/kubectl", "bin/kubelet"},
		},
		{
			name: "containerd", folder: runtimeFolder, pkg: ".", module: "github.com/containerd/containerd/v2",
			tags: "no_btrfs no_devmapper no_zfs",
			stamps: map[string]string{
				"github.com/containerd/containerd/v2/version.Version": "%s",
			},
			path: "bin/containerd", links: []string{"bin/ctr"},
		},
		{
			name: "containerd-shim-runc-v2", folder: runtimeFolder, module: "github.com/containerd/containerd/v2",
			pkg: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
			stamps: map[string]string{
				"github.com/containerd/containerd/v2/version.Version": "%s",
			},
			path: "bin/containerd-shim-runc-v2",
		},
		{
			name: "runc", folder: runtimeFolder, pkg: "github.com/opencontainers/runc", module: "github.com/opencontainers/runc",
			// Without seccomp no pod starts: containerd always hands runc a profile.
			cgo: true, tags: "netgo osusergo seccomp", path: "bin/runc",
		},
		cni("bridge", "main/bridge"), cni("host-local", "ipam/host-local"),
		cni("loopback", "main/loopback"), cni("portmap", "meta/portmap"),
		{
			name: "pause", module: "k8s.io/kubernetes", folder: "controlplane/kube",
			image: &image{name: "registry.k8s.io/pause", tag: pauseTag, user: "65535:65535", first: true},
		},
		{
			name: "coredns", folder: "controlplane/dns", pkg: ".", module: "github.com/coredns/coredns",
			image: &image{name: "registry.k8s.io/coredns/coredns", user: nobody, first: true},
		},
		{
			name: "metrics-server", folder: "controlplane/metrics", module: "sigs.k8s.io/metrics-server",
			pkg:    "sigs.k8s.io/metrics-server/cmd/metrics-server",
			stamps: map[string]string{kubeStamp + "gitVersion": "%s", clientStamp + "gitVersion": "%s", clientStamp + "buildDate": "%t"},
			image:  &image{name: "registry.k8s.io/metrics-server/metrics-server", user: nobody},
		},
		{
			name: "web", folder: ".", pkg: "./examples/web",
			image: &image{name: "provision.sh/web", tag: "1", user: nobody},
		},
		// The last, as it starts last and changes with our own source.
		{name: "cloud-agent", folder: ".", pkg: "./cmd/cloud-agent", path: "bin/cloud-agent"},
	}
}

const runtimeFolder = "nodeagent/runtime"

func cni(name, folder string) program {
	const module = "github.com/containernetworking/plugins"
	return program{
		name: name, folder: runtimeFolder, pkg: module + "/plugins/" + folder, module: module,
		stamps: map[string]string{cniStamp: "%s"}, path: "cni/" + name,
	}
}
