# A Kubernetes cluster of three machines on the host at hand. Make it, use it, remove it:
#
#   provision apply cluster.hcl
#   provision kubectl cluster.hcl -- get nodes
#   provision destroy cluster.hcl

# Who makes the machines: "local" makes them of namespaces on this host.
provider "local" {}

cluster "demo" {
  kubernetes = "1.37.2"

  # Ranges that nothing else on your network uses.
  network {
    pods     = "10.244.0.0/16"
    services = "10.96.0.0/16"
  }

  # The machine that runs the API, its data and the controllers.
  control_plane {
    count   = 1
    machine = "small"
  }

  # The machines that run your pods. Change the count and apply again.
  pool "workers" {
    count   = 2
    machine = "small"
    labels  = { tier = "web" }
  }
}
