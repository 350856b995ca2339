# A Kubernetes cluster at Azure that stands the loss of a zone: three control-plane machines in three zones behind a Standard load
# balancer, and two workers.
#
#   az login                                    # or any other way in which Azure's own tools find credentials
#   export AZURE_SUBSCRIPTION_ID=…
#   provision plan cluster.hcl                  # what would be made, what it costs, and whether you may
#   provision apply cluster.hcl
#   provision destroy cluster.hcl

provider "azure" {
  location = "westeurope"
}

cluster "azure" {
  kubernetes = "1.37.2"

  network {
    machines = "10.30.0.0/16"

    # Who may come in from outside: the ranges that you work from. These are for documents, and nobody's.
    ssh_from = ["203.0.113.0/24"]
    api_from = ["203.0.113.0/24"]
  }

  # Any of the three may be lost, and its zone with it.
  control_plane {
    count   = 3
    machine = "Standard_D2s_v5"
    zones   = ["westeurope-1", "westeurope-2", "westeurope-3"]

    # One address for the API, whichever of the three answers.
    endpoint {
      balancer = true
    }
  }

  pool "workers" {
    count   = 2
    machine = "Standard_D2s_v5"
    zones   = ["westeurope-1", "westeurope-2"]
  }
}
