//go:build linux && amd64

package main

// crashCluster is the file of all scenarios.
const crashCluster = `
provider "fake" {
  path    = "w/vendor.db"
  options = var.options
}
` + crashBody

// crashBody is all but the provider.
const crashBody = `
variable "workers" { default = 2 }
variable "size" { default = "small" }
variable "cps" { default = 1 }
variable "from" { default = "10.0.0.0/8" }
variable "options" { default = "{}" }

cluster "demo" {
  kubernetes = "1.37.2"

  network {
    api_from = [var.from]
  }
  control_plane {
    count   = var.cps
    machine = "small"
  }
  pool "workers" {
    count   = var.workers
    machine = var.size
  }
}
`

// A scenario is something that a person does to a cluster.
type scenario struct {
	name   string
	before [][]string // runs that lead to where it begins
	args   []string
	then   []string // the plain run that mends it; nil: args
	agent  bool     // the cluster has made a balancer and a volume for itself
	lost   bool     // the state is lost before it begins
	saved  bool     // it executes a saved plan, for which variables have to be as they were
}

// mend is the plain run that mends whatever happened.
func (s scenario) mend() []string {
	if s.then != nil {
		return s.then
	}
	return s.args
}

func (s scenario) destroys() bool { return s.args[0] == "destroy" }

func crashScenarios() []scenario {
	apply := func(vars ...string) []string {
		args := []string{"apply", "--auto-approve"}
		for _, v := range vars {
			args = append(args, "--var", v)
		}
		return args
	}
	return []scenario{
		{name: "apply", args: apply()},
		{name: "scale up", before: [][]string{apply("workers=1")}, args: apply("workers=4")},
		{name: "scale down", before: [][]string{apply("workers=4")}, args: apply("workers=1")},
		{name: "replace", before: [][]string{apply()}, args: apply("size=large")},
		{name: "rules", before: [][]string{apply()}, args: apply("from=192.0.2.0/24")},
		{name: "three control planes", before: [][]string{apply()}, args: apply("cps=3")},
		{name: "saved plan", before: [][]string{apply("workers=1"), {"plan", "--out", "w/next.plan", "--var", "size=medium"}},
			args: []string{"apply", "w/next.plan", "--var", "size=medium"}, saved: true},
		{name: "saved replacement", before: [][]string{apply("workers=3"), {"plan", "--out", "w/next.plan", "--var", "workers=3", "--replace", "workers[*]"}},
			args: []string{"apply", "w/next.plan", "--var", "workers=3"}, saved: true},
		{name: "state lost", before: [][]string{apply("workers=1")}, lost: true, args: apply("workers=3")},
		{name: "destroy", before: [][]string{apply()}, args: []string{"destroy", "--auto-approve"}},
		{name: "destroy with a volume in use", before: [][]string{apply("workers=1")}, args: []string{"destroy", "--auto-approve"}, agent: true},
	}
}
