package nodeagent

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/provisionhq/provision/templates"
)

// TestShut has a node that waited in vain say which ports of the others it does not reach, and why.
func TestShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := testNode(templates.ControlPlane, 3)
		n.Endpoints = []string{"10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"}
		dial := func(ctx context.Context, _, address string) (net.Conn, error) {
			switch address {
			case "10.0.0.2:2380": // dropped
				<-ctx.Done()
				return nil, ctx.Err()
			case "10.0.0.3:6443":
				return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
			case "10.0.0.3:2379":
				return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
			case "10.0.0.2:6443", "10.0.0.2:2379", "10.0.0.3:2380":
				a, _ := net.Pipe()
				return a, nil
			}
			return nil, errors.New("nobody asked for " + address)
		}
		got := slices.DeleteFunc(shut(t.Context(), doors(n), dial), func(s string) bool { return s == "" })
		want := []string{
			"this machine does not reach 10.0.0.3:6443, the API server there: refused; it does not run, or a firewall rejects this machine",
			"this machine does not reach 10.0.0.2:2380, etcd's peer there: no answer; look for a firewall on either machine or between them",
			"this machine does not reach 10.0.0.3:2379, etcd there: no way there",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		n.Role = templates.Worker
		if all := doors(n); len(all) != 2 || all[0].address != "10.0.0.2:6443" {
			t.Errorf("a worker needs %v", all)
		}
	})
}
