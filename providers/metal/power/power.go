// Package power switches machines on and off through their baseboard management controllers, which answer also when the
// machine does not: by IPMI or by Redfish.
package power

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Protocols that a BMC can speak.
const (
	IPMI    = "ipmi"    // version 2.0, over UDP
	Redfish = "redfish" // over HTTPS
)

// A BMC is where a machine's controller is and how to log in to it.
type BMC struct {
	Address  string // host, or host:port; for Redfish also a URL. The port is 623 for IPMI and 443 for Redfish
	Protocol string // IPMI or Redfish
	User     string
	Password string // secret
	System   string // for Redfish: path of the system, like /redfish/v1/Systems/1; empty: the only one that there is
	CA       string // for Redfish: path of a file with certificates in PEM that the BMC's is checked by; empty: the computer's
	Insecure bool   // for Redfish: whoever answers is taken for the BMC
}

// A State is whether a machine has power.
type State string

// The states.
const (
	On  State = "on"
	Off State = "off"
)

// An Action is what can be done to a machine's power.
type Action string

// The actions. All act at once, without asking the operating system.
const (
	TurnOn  Action = "on"
	TurnOff Action = "off"
	Cycle   Action = "cycle" // off and on again; a machine that is off is turned on
)

// A Device is what a machine boots from.
type Device string

// The devices.
const (
	PXE  Device = "pxe"
	Disk Device = "disk"
)

// A Controller is an open session with a BMC. It is not safe for concurrent use.
type Controller interface {
	// State tells whether the machine has power.
	State(context.Context) (State, error)
	// Do starts an action; the state may follow a moment later. See Switch.
	Do(context.Context, Action) error
	// NextBoot makes the next boot, and only that one, start from a device.
	NextBoot(context.Context, Device) error
	// Close ends the session.
	Close() error
}

// Errors of a BMC. Each error of a Controller and of Open wraps one of them, or a context's error.
var (
	ErrUnreachable = errors.New("the BMC does not answer")
	ErrDenied      = errors.New("the BMC does not let us in")
	ErrRefused     = errors.New("the BMC refused")
)

// Check returns what is wrong with the BMC as it is written in a file.
func (b BMC) Check() error {
	switch {
	case b.Address == "":
		return errors.New("the BMC has no address")
	case !slices.Contains([]string{IPMI, Redfish}, b.Protocol):
		return fmt.Errorf("the BMC's protocol is %q, known are %q and %q", b.Protocol, IPMI, Redfish)
	case b.Protocol == IPMI && (b.System != "" || b.CA != "" || b.Insecure):
		return errors.New("system, ca and insecure are for Redfish")
	case b.Protocol == IPMI && len(b.Password) > 20:
		return fmt.Errorf("the BMC's password has %d letters, IPMI knows 20", len(b.Password))
	case strings.HasPrefix(b.Address, "http://") && b.Protocol == Redfish && !b.Insecure:
		return errors.New("the BMC's address begins with http://, so whoever listens gets its password: write insecure = true to have it so")
	}
	return nil
}

// Open logs in to a BMC. The caller closes the Controller.
func Open(ctx context.Context, b BMC) (Controller, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	if b.Protocol == IPMI {
		return openIPMI(ctx, b)
	}
	return openRedfish(ctx, b)
}

// poll is how often Switch asks for the state.
const poll = 200 * time.Millisecond

// Switch does the action, waits until the state is as it says, and returns the state. A machine that is so already is left
// alone, but for Cycle. The context bounds the wait.
func Switch(ctx context.Context, b BMC, a Action) (State, error) {
	c, err := Open(ctx, b)
	if err != nil {
		return "", err
	}
	defer c.Close()
	was, err := c.State(ctx)
	if err != nil {
		return "", err
	}
	want := On
	if a == TurnOff {
		want = Off
	}
	if a == Cycle && was == Off {
		a = TurnOn
	}
	if was == want && a != Cycle {
		return was, nil
	}
	if err := c.Do(ctx, a); err != nil {
		return "", err
	}
	return await(ctx, c, want)
}

func await(ctx context.Context, c Controller, want State) (State, error) {
	for {
		s, err := c.State(ctx)
		if err == nil && s == want {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w: the machine is not %s: %w", ErrRefused, want, ctx.Err())
		case <-time.After(poll):
		}
	}
}

// Ask returns the state.
func Ask(ctx context.Context, b BMC) (State, error) {
	c, err := Open(ctx, b)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.State(ctx)
}
