# One file for clusters of different sizes. Without anything it makes the smallest; with values from a file, or from the
# command, another:
#
#   provision plan cluster.hcl
#   provision plan cluster.hcl --var-file large.vars.hcl
#   provision plan cluster.hcl --var workers=3 --var 'teams=["blue"]'

variable "workers" {
  type        = number
  default     = 1
  description = "Machines for each team."

  validation {
    condition     = var.workers >= 1 && var.workers <= 20
    error_message = "A team has from 1 to 20 machines on one host."
  }
}

variable "teams" {
  type        = list(string)
  default     = ["blue", "green"]
  description = "Who gets machines. The first two are known below."
}

locals {
  base = "10.128.0.0/10" # everything of this cluster lies within

  labels = { example = "variables" }

  # The machines of a team that is not there are none.
  count = { for t in ["blue", "green"] : t => contains(var.teams, t) ? var.workers : 0 }
}

provider "local" {}

cluster "varied" {
  kubernetes = "1.37.2"

  network {
    pods     = cidrsubnet(local.base, 6, 1)
    services = cidrsubnet(local.base, 6, 2)
  }

  control_plane {
    machine = "small"
  }

  pool "blue" {
    count   = local.count.blue
    machine = "small"
    labels  = merge(local.labels, { team = "blue" })
  }

  pool "green" {
    count   = local.count.green
    machine = "small"
    labels  = merge(local.labels, { team = "green" })
    taints  = ["team=green:NoSchedule"] # only pods that tolerate it
    drain   = "2m"                      # pods get that long to leave
  }
}
