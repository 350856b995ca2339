# A Kubernetes cluster at Google Cloud that stands the loss of a zone: three control-plane machines in three zones behind a
# passthrough Network Load Balancer, and two workers.
#
#   gcloud auth application-default login       # or any other way in which Google's own tools find credentials
#   export GOOGLE_CLOUD_PROJECT=…
#   provision plan cluster.hcl                  # what would be made, what it costs, and whether you may
#   provision apply cluster.hcl
#   provision destroy cluster.hcl

provider "gcp" {
  region = "europe-west1"
}

cluster "gcp" {
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
    machine = "e2-standard-2"
    zones   = ["europe-west1-b", "europe-west1-c", "europe-west1-d"]

    # One name for the API, whichever of the three answers.
    endpoint {
      balancer = true
    }
  }

  pool "workers" {
    count   = 2
    machine = "e2-standard-2"
    zones   = ["europe-west1-b", "europe-west1-c"]
  }
}
