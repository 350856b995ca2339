package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// keepCNI writes the pods' network configuration as soon as flannel says which subnet the node has, and again when that
// changes, until ctx ends. report is told whether it is in place.
func keepCNI(ctx context.Context, subnetFile, confFile string, report func(error)) {
	pause := 50 * time.Millisecond
	for {
		err := writeCNI(subnetFile, confFile)
		if err == nil {
			pause = 3 * time.Second
		}
		report(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func writeCNI(subnetFile, confFile string) error {
	b, err := os.ReadFile(subnetFile)
	if err != nil {
		return err
	}
	c, err := parseSubnet(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", subnetFile, err)
	}
	conf, err := templates.RenderCNI(c)
	if err != nil {
		return err
	}
	return supervisor.WriteFile(confFile, conf, 0o644)
}

// parseSubnet reads what flannel wrote.
func parseSubnet(text string) (templates.CNI, error) {
	var c templates.CNI
	var errs []error
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		var err error
		switch key {
		case "FLANNEL_NETWORK":
			c.Pods, err = netip.ParsePrefix(value)
		case "FLANNEL_SUBNET":
			c.Subnet, err = netip.ParsePrefix(value)
		case "FLANNEL_MTU":
			c.MTU, err = strconv.Atoi(value)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	if !c.Pods.IsValid() || !c.Subnet.IsValid() || c.MTU == 0 {
		return c, errors.New("network, subnet or MTU is missing")
	}
	return c, nil
}
