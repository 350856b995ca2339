package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/doctor"
	"github.com/provisionhq/provision/bootstrap/scout"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/providers"
	"github.com/spf13/cobra"
)

func (a *app) doctorCommand() *cobra.Command {
	c := a.command("doctor [FILE]", "Examine the machines, and change nothing", a.doctor)
	c.Long = `Examine all machines of the cluster side by side, and change nothing: what each of them has and lacks, and what only shows
between them: clocks, ports in both directions, packet sizes, duplicates. Each finding names the host and what to do.

Hosts of an inventory (provider metal) are examined before they are claimed, too.

Ends with 0 if there is no error among the findings, with 1 if there is.`
	c.Flags().BoolVar(&a.flags.json, "json", false, "write JSON to stdout (docs/doctor.md has its form)")
	c.Flags().StringVar(&a.flags.bundle, "bundle", "", "bundle that is to be installed (default: beside the program)")
	return c
}

func (a *app) doctor(ctx context.Context, c *cobra.Command, file string, rest []string) error {
	if err := noArgs(c, rest); err != nil {
		return err
	}
	s, err := a.open(ctx, file, true, engine.Options{})
	if err != nil {
		return err
	}
	defer s.close()
	hosts, done, err := a.patients(ctx, s)
	if err != nil {
		return err
	}
	defer done()
	o, err := a.doctorOptions(s.cluster)
	if err != nil {
		return err
	}
	r, err := doctor.Examine(ctx, hosts, o)
	if err != nil {
		return err
	}
	if a.flags.json {
		err = a.printJSON(r)
	} else {
		err = r.WriteText(a.out)
	}
	if err == nil && r.Errors() > 0 {
		return exitError(1)
	}
	return err
}

// doctorOptions says what the machines have to be fit for. The bundle may be missing: then its needs are not known.
func (a *app) doctorOptions(c *config.Cluster) (doctor.Options, error) {
	o := doctor.Options{Cluster: c.Name, Pods: c.Network.Pods, Services: c.Network.Services, Machines: c.Network.Machines, Backend: c.Network.Backend}
	b, err := bundle.Open(a.bundle())
	switch {
	case err == nil:
		o.Arch, o.Install = b.Manifest.Arch, b.Manifest.Size()
	case !errors.Is(err, fs.ErrNotExist):
		return o, err
	}
	o.Scout, err = ssh.FromFile(filepath.Join(filepath.Dir(a.agent()), scout.Program))
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil // said with each host: not all was examined
	}
	return o, err
}

// patients are the machines that the vendor has of the cluster; of an inventory all hosts that are or may become some. done
// ends what leads to them.
func (a *app) patients(ctx context.Context, s *session) (hosts []doctor.Host, done func(), err error) {
	if s.cluster.Provider.Name == "metal" {
		return a.hosts(ctx, s)
	}
	ways, err := s.engine.Ways(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range ways {
		h := doctor.Host{Name: w.Machine.Name, Role: w.Role, Address: w.Machine.Private, UID: s.engine.UID(), Dial: w.Dial}
		if w.Machine.State == providers.Stopped {
			h.Dial = func(context.Context) (ssh.Host, error) { return nil, doctor.ErrStopped }
		}
		hosts = append(hosts, h)
	}
	if len(hosts) == 0 {
		return nil, nil, diag.New(diag.Unsupported, "Machines of provider %s do not answer SSH, so there is nothing to examine.", s.cluster.Provider.Name)
	}
	return hosts, func() {}, nil
}
