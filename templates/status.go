package templates

import (
	"encoding/json"
	"fmt"
	"time"
)

// StatusSchema is the version of Status's JSON form.
const StatusSchema = 1

// A Status is what `node-agent status --json` prints: what runs on a node. It holds no secrets.
type Status struct {
	Schema       int                 `json:"schema"`
	Agent        string              `json:"agent"` // version of the node agent
	Cluster      string              `json:"cluster,omitempty"`
	UID          string              `json:"uid,omitempty"` // of the cluster
	Node         string              `json:"node,omitempty"`
	Role         Role                `json:"role,omitempty"`
	Kubernetes   string              `json:"kubernetes,omitempty"`
	Bundle       string              `json:"bundle,omitempty"`
	ConfigHash   string              `json:"configHash,omitempty"` // SHA-256 of node.json's bytes; empty: not configured
	InitSystem   string              `json:"initSystem"`           // "systemd", "openrc" or "runit"
	Cgroup       int                 `json:"cgroup"`               // version of cgroups that Kubernetes uses: 1 or 2
	Ready        bool                `json:"ready"`                // everything the node should run is running and ready
	Problems     []string            `json:"problems,omitempty"`   // why the agent cannot do its work; sentences without a full stop
	Processes    []ProcessStatus     `json:"processes"`            // in the order they start
	Endpoints    []EndpointStatus    `json:"endpoints,omitempty"`  // API servers, as the local balancer sees them
	Certificates []CertificateStatus `json:"certificates,omitempty"`
	Warnings     []string            `json:"warnings,omitempty"`  // what works now and will not for long; sentences without a full stop
	Etcd         *EtcdStatus         `json:"etcd,omitempty"`      // of a control-plane node
	VIP          *VIPStatus          `json:"vip,omitempty"`       // of a control-plane node whose cluster has one
	Addresses    []AddressStatus     `json:"addresses,omitempty"` // of Services, that this node may have
}

// A ProcessState is what a process does.
type ProcessState string

// The states of a process.
const (
	Waiting  ProcessState = "waiting"  // for what WaitingFor says
	Starting ProcessState = "starting" // it runs and is not ready yet
	Running  ProcessState = "running"  // it runs and is ready, or was and is not now: see Ready
	BackOff  ProcessState = "back-off" // it died and is started again soon
	Stopping ProcessState = "stopping"
	Stopped  ProcessState = "stopped"
	Done     ProcessState = "done" // a task that has ended well
)

// A ProcessStatus is one process, or one task, of a node.
type ProcessStatus struct {
	Name       string       `json:"name"`
	State      ProcessState `json:"state"`
	PID        int          `json:"pid,omitempty"`
	Restarts   int          `json:"restarts"` // since the agent first started it on this boot
	Since      time.Time    `json:"since"`    // of the state
	Ready      bool         `json:"ready"`
	Adopted    bool         `json:"adopted,omitempty"` // an earlier run of the agent started it
	WaitingFor string       `json:"waitingFor,omitempty"`
	LastExit   string       `json:"lastExit,omitempty"`  // how it ended last: "exit status 1", "signal: killed"
	LastProbe  string       `json:"lastProbe,omitempty"` // why it is not ready
}

// An EndpointStatus is one API server as the local balancer sees it.
type EndpointStatus struct {
	Address     string `json:"address"`
	Healthy     bool   `json:"healthy"`
	Connections int    `json:"connections"`
}

// A CertificateStatus is one certificate of a node.
type CertificateStatus struct {
	Name     string    `json:"name"` // path below the folder it is in, without suffix: "etcd/server"
	NotAfter time.Time `json:"notAfter"`
}

// RenderStatus returns the status as one line of JSON.
func RenderStatus(s Status) ([]byte, error) {
	s.Schema = StatusSchema
	b, err := json.Marshal(s)
	return append(b, '\n'), err
}

// ParseStatus reads what RenderStatus wrote. Fields it does not know are left out, so that an older command can ask a
// newer agent; another schema is an error.
func ParseStatus(b []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(b, &s); err != nil {
		return Status{}, fmt.Errorf("parse status: %w", err)
	}
	if s.Schema != StatusSchema {
		return Status{}, fmt.Errorf("parse status: schema %d, this program knows %d", s.Schema, StatusSchema)
	}
	return s, nil
}
