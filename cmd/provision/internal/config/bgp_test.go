package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// TestBGP reads a block with all that may be in it, in another order, and a password from a variable that is sensitive.
func TestBGP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.hcl")
	err := os.WriteFile(file, []byte(`
provider "local" {}
variable "key" {
  type      = string
  sensitive = true
}
cluster "demo" {
  kubernetes = "1.37.2"
  control_plane {
    machine = "small"
    endpoint {
      address = "10.99.0.1"
      bgp {
        asn  = 4200000000
        hold = "9s"
        peer "10.0.0.2" {
          asn      = 64500
          password = "to ${var.key}"
          port     = 1790
          hops     = 2
        }
        peer "10.0.0.1" {
          asn = 4200000000
        }
      }
    }
  }
  pool "workers" {
    count   = 1
    machine = "small"
  }
}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	c, ds := Load(file, Options{Vars: map[string]string{"key": "open"}})
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	want := &BGP{ASN: 4200000000, Hold: 9 * time.Second, Peers: []BGPPeer{
		{Address: netip.MustParseAddr("10.0.0.1"), ASN: 4200000000},
		{Address: netip.MustParseAddr("10.0.0.2"), ASN: 64500, Port: 1790, Hops: 2, Password: "to open"},
	}}
	if !reflect.DeepEqual(c.Endpoint.BGP, want) {
		t.Errorf("got %+v, want %+v", c.Endpoint.BGP, want)
	}
	if _, ok := c.Ranges["endpoint.bgp"]; !ok {
		t.Error("nobody can say where the block is")
	}
}
