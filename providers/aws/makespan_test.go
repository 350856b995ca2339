package aws

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
)

// BenchmarkMakespan makes one small cluster's topology on moto, a network in three zones, three control-plane machines behind a
// balancer and two workers, and looks at it again: once with this package and its default pace, once with Terraform and its AWS
// provider, from testdata/terraform. Neither waits for anything but moto. Terraform asks moto itself; this package by way of the
// proxy, as it needs consoles. Terraform is left out where it or its provider cannot be had; TERRAFORM_PLUGINS names a folder of
// providers.
func BenchmarkMakespan(b *testing.B) {
	b.Run("provision", func(b *testing.B) {
		for b.Loop() {
			c := fresh(b)
			p, err := New(b.Context(), Options{Region: "eu-west-1", Endpoint: c.URL})
			if err != nil {
				b.Fatal(err)
			}
			begun := time.Now()
			if err := smallCluster(b.Context(), p); err != nil {
				b.Fatal(err)
			}
			made := time.Now()
			if err := lookAt(b.Context(), p); err != nil {
				b.Fatal(err)
			}
			figures(b, made.Sub(begun), time.Since(made), len(c.Requests()))
		}
	})
	b.Run("terraform", func(b *testing.B) {
		for b.Loop() {
			c := fresh(b)
			terraform := inTerraform(b, c)
			begun := time.Now()
			terraform("apply", "-auto-approve")
			made := time.Now()
			terraform("plan") // it wants to set groups of instances, which moto does not tell: only its time counts
			figures(b, made.Sub(begun), time.Since(made), 0)
		}
	})
}

func figures(b *testing.B, apply, plan time.Duration, requests int) {
	b.ReportMetric(apply.Seconds(), "apply-s")
	b.ReportMetric(plan.Seconds(), "plan-s")
	if requests > 0 {
		b.ReportMetric(float64(requests), "requests")
	}
}

// fresh is a cloud that has answered before: moto reads its parts at the first request of each.
func fresh(b *testing.B) *awstest.Cloud {
	b.Helper()
	if err := cloud.Reset(awstest.Options{}); err != nil {
		b.Fatal(err)
	}
	p, err := New(b.Context(), Options{Region: "eu-west-1", Endpoint: cloud.URL})
	if err == nil {
		err = lookAt(b.Context(), p)
	}
	if err == nil {
		err = cloud.Reset(awstest.Options{})
	}
	if err != nil {
		b.Fatal(err)
	}
	return cloud
}

// smallCluster makes the topology in the order in which the engine does.
func smallCluster(ctx context.Context, p *Provider) error {
	office := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	n, err := p.Networks().Create(ctx, providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.20.0.0/16"), Allow: []providers.Rule{
		{Name: "api", Protocol: "tcp", Port: 6443, Sources: office}, {Name: "ssh", Protocol: "tcp", Port: 22, Sources: office}}})
	if err != nil {
		return err
	}
	var g errgroup.Group
	control := make([]providers.ID, 3)
	for i := range 5 {
		spec := providers.MachineSpec{Owner: "demo", Name: fmt.Sprintf("demo-workers-%d", i-3), Pool: "workers", Network: n.ID, Type: "t3.medium", AuthorizedKeys: []string{awstest.HostKey("user")}}
		if i < 3 {
			spec.Name, spec.Pool = fmt.Sprintf("demo-cp-%d", i), controlPool
		}
		g.Go(func() error {
			m, err := p.Machines().Create(ctx, spec)
			if i < 3 {
				control[i] = m.ID
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	_, err = p.LoadBalancers().Create(ctx, providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: n.ID, Targets: control, Sources: office,
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: 6443, TargetPort: 6443, HealthPath: "/readyz"}}})
	return err
}

// lookAt asks for all that a plan compares.
func lookAt(ctx context.Context, p *Provider) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { _, err := p.Machines().Types(ctx); return err })
	g.Go(func() error { _, err := p.Machines().List(ctx, "demo"); return err })
	g.Go(func() error { _, err := p.Networks().List(ctx, "demo"); return err })
	g.Go(func() error { _, err := p.LoadBalancers().List(ctx, "demo"); return err })
	g.Go(func() error { _, err := p.Volumes().List(ctx, "demo"); return err })
	return g.Wait()
}

// inTerraform returns what runs Terraform at the cloud, initialized.
func inTerraform(b *testing.B, c *awstest.Cloud) func(args ...string) {
	b.Helper()
	program, err := exec.LookPath("terraform")
	if err != nil {
		b.Skip(err)
	}
	dir := b.TempDir()
	text, err := os.ReadFile("testdata/terraform/main.tf")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "main.tf"), text, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		t := exec.Command(program, args...)
		t.Dir = dir
		t.Env = append(os.Environ(), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_VAR_endpoint="+c.Behind(), "TF_VAR_image=ami-00000000000deb001")
		var out bytes.Buffer
		t.Stdout, t.Stderr = &out, &out
		err := t.Run()
		return out.String(), err
	}
	first := []string{"init", "-no-color"}
	if folder := os.Getenv("TERRAFORM_PLUGINS"); folder != "" {
		first = append(first, "-plugin-dir="+folder)
	}
	if out, err := run(first...); err != nil {
		b.Skipf("terraform init: %v\n%s", err, out)
	}
	return func(args ...string) {
		b.Helper()
		if out, err := run(append(args, "-no-color", "-input=false")...); err != nil {
			b.Fatalf("terraform %v: %v\n%s", args, err, out)
		}
	}
}
