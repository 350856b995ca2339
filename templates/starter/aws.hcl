# A Kubernetes cluster at AWS that stands the loss of a zone: three control-plane machines in three zones behind a Network
# Load Balancer, and two workers.
#
#   provision apply --rehearse cluster.hcl      # first on this host, without an account and without costs: docs/rehearse.md
#   provision destroy --rehearse cluster.hcl
#
#   export AWS_PROFILE=…                        # or any other way in which AWS's own tools find credentials
#   provision plan cluster.hcl                  # what would be made, what it costs, and whether you may
#   provision apply cluster.hcl
#   provision destroy cluster.hcl

provider "aws" {
  region = "eu-west-1"
}

cluster "aws-ha" {
  kubernetes = "1.37.2"

  network {
    machines = "10.20.0.0/16"

    # Who may come in from outside: the ranges that you work from. These are for documents, and nobody's.
    ssh_from = ["203.0.113.0/24"]
    api_from = ["203.0.113.0/24"]
  }

  # Any of the three may be lost, and its zone with it.
  control_plane {
    count   = 3
    machine = "t3.medium"
    zones   = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]

    # One name for the API, whichever of the three answers.
    endpoint {
      balancer = true
    }
  }

  pool "workers" {
    count   = 2
    machine = "t3.medium"
    zones   = ["eu-west-1a", "eu-west-1b"]
  }
}
