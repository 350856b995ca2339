provider "rack" {
  folder = "rack"
  slots  = 8
}

cluster "demo" {
  kubernetes = "1.37.2"

  control_plane {
    count   = 1
    machine = "1u"
  }

  pool "workers" {
    count   = 2
    machine = "2u"
  }
}
