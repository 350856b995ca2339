# A Kubernetes cluster on five hosts that answer SSH, behind a bastion, as a user who is not root.
#
#   vi hosts.inventory.hcl           # list your own hosts
#   provision hosts keys              # their host keys, to compare and to keep
#   provision doctor                  # what keeps them from becoming nodes; changes nothing
#   provision apply
#   provision destroy                 # gives the hosts back as they were

provider "metal" {
  # The hosts, in a file of their own: HCL, CSV ("./hosts.csv") or JSON.
  inventory = "hosts.inventory.hcl"

  # What a machine of each type has at least. Hosts that have it, and its labels, are taken.
  type "control" {
    cpus       = 1
    memory_mib = 900
    labels     = { use = "control" }
  }

  type "work" {
    cpus       = 1
    memory_mib = 900
    labels     = { use = "work" }
  }
}

cluster "metal" {
  kubernetes = "1.37.2"

  # Any of the three may be lost.
  control_plane {
    count   = 3
    machine = "control"
  }

  pool "workers" {
    count   = 2
    machine = "work"
  }
}
