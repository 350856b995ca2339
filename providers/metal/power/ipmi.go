package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Of a session over IPMI: a datagram may be lost, so each is sent again.
const (
	ipmiTimeout = 2 * time.Second
	ipmiTries   = 3
)

type ipmiController struct {
	c    *client.Client
	addr string
}

func openIPMI(ctx context.Context, b BMC) (Controller, error) {
	host, port := b.Address, 623
	if h, p, err := net.SplitHostPort(b.Address); err == nil {
		host = h
		if port, err = strconv.Atoi(p); err != nil {
			return nil, fmt.Errorf("%w: %q is no port", ErrUnreachable, p)
		}
	}
	c, err := client.NewClient(host, port, b.User, b.Password)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	// To switch power one has to be an operator at least; who is less is told so by the BMC. BMCs are not asked which ciphers
	// they know: not all answer, and only these two are any good.
	c.WithInterface(client.InterfaceLanplus).WithTimeout(ipmiTimeout).WithRetry(ipmiTries).
		WithMaxPrivilegeLevel(types.PrivilegeLevelOperator).WithCipherSuiteID(types.CipherSuiteID17, types.CipherSuiteID3)
	i := &ipmiController{c, b.Address}
	return i, i.in(ctx, func() error { return c.Connect(ctx) })
}

// State asks for the chassis' status.
func (i *ipmiController) State(ctx context.Context) (State, error) {
	s := Off
	err := i.in(ctx, func() error {
		r, err := i.c.GetChassisStatus(ctx)
		if err == nil && r.PowerIsOn {
			s = On
		}
		return err
	})
	return s, err
}

// Do sends a chassis control command.
func (i *ipmiController) Do(ctx context.Context, a Action) error {
	control := map[Action]chassis.ChassisControl{
		TurnOn: chassis.ChassisControlPowerUp, TurnOff: chassis.ChassisControlPowerDown, Cycle: chassis.ChassisControlPowerCycle,
	}[a]
	return i.in(ctx, func() error {
		_, err := i.c.ChassisControl(ctx, control)
		return err
	})
}

// NextBoot sets the boot flags for one boot.
func (i *ipmiController) NextBoot(ctx context.Context, d Device) error {
	from := types.BootDeviceSelectorForcePXE
	if d == Disk {
		from = types.BootDeviceSelectorForceHardDrive
	}
	return i.in(ctx, func() error { return i.c.SetBootDevice(ctx, from, types.BIOSBootTypeEFI, false) })
}

// Close ends the session. A BMC that has gone away forgets it by itself.
func (i *ipmiController) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), ipmiTimeout)
	defer cancel()
	_ = i.c.Close(ctx)
	return nil
}

// in does something and gives its error one of our kinds.
func (i *ipmiController) in(ctx context.Context, do func() error) error {
	err := do()
	var said *types.ResponseError
	var network net.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("BMC %s: %w: %w", i.addr, ErrUnreachable, ctx.Err())
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("BMC %s: %w: %w", i.addr, ErrUnreachable, err)
	case errors.As(err, &said) && said.CompletionCode() != types.CodeInsufficientPrivilege:
		return fmt.Errorf("BMC %s: %w: %w", i.addr, ErrRefused, err)
	}
	return fmt.Errorf("BMC %s: %w: %w", i.addr, ErrDenied, err)
}
