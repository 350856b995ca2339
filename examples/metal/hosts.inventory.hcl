# The inventory: the rest of the block provider "metal" of cluster.hcl. docs/metal.md describes every attribute.

user = "ops"               # becomes root by sudo, without a password
key  = "~/.ssh/id_ed25519" # and the SSH agent's keys

# The way to all hosts, as it is the only bastion.
jump "bastion" {
  address  = "bastion.example.com"
  host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN5GZChVZRKcixajgjh5m39ybS/n9lPpqoCXczjcGtU0"
}

# One key that signs all hosts' keys, in place of a host_key in each block.
host_ca = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHeQBaVMPxqYcg20hsmAqbGVB0xtrAeoLhVC55ruam+P"

host "rack1-a" {
  address = "10.20.0.11"
  labels  = { use = "control" }
}

host "rack2-a" {
  address = "10.20.0.12"
  labels  = { use = "control" }
}

host "rack3-a" {
  address = "10.20.0.13"
  labels  = { use = "control" }
}

host "rack1-b" {
  address = "10.20.0.21"
  labels  = { use = "work" }
}

host "rack2-b" {
  address = "10.20.0.22"
  labels  = { use = "work" }
}
