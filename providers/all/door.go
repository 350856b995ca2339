package all

import (
	"context"
	"fmt"
	"math"
	"net"
	"path/filepath"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/remote"
)

// Machine runs what a machine of the local provider is made of, or the process behind its door, if the arguments say that this
// process is a part of one. A program that can make such machines calls it before anything else.
func Machine(args []string) (ran bool, code int) {
	if len(args) > 0 && filepath.Base(args[0]) == local.DoorName {
		return true, local.DoorMain(args[1:], serveDoor)
	}
	return local.Machine(args)
}

// serveDoor answers whoever is root in the machine, for the machine's owner alone.
func serveDoor(d local.Door, l net.Listener) error {
	return remote.NewServer(Owned(d.Provider, d.Machine.Owner, d.Machine.Name)).Serve(l)
}

// throughDoor is how provider local is opened in one of its machines.
func throughDoor(map[string]any) (map[string]any, bool) {
	return map[string]any{"door": local.DoorSocket}, false
}

// openDoor opens the provider behind a socket. It is given up at no time: whoever serves there is started again.
func openDoor(socket string) (providers.Provider, error) {
	r, err := remote.Open(context.Background(), remote.Options{Name: "local", Socket: socket, Limits: remote.Limits{Deaths: math.MaxInt}})
	if err != nil {
		return nil, fmt.Errorf("the host behind %s: %w", socket, err)
	}
	return closing{patient(r), r.Close}, nil
}
