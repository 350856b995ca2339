package remote_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/remote"
)

// BenchmarkPipe measures what the pipe costs: a start, a call, and a list of 10,000 machines, beside the same list
// without it.
func BenchmarkPipe(b *testing.B) {
	path, err := buildFakeplug()
	if err != nil {
		b.Fatal(err)
	}
	world := filepath.Join(b.TempDir(), "cloud")
	f, err := fake.Open(world, fake.Options{})
	if err != nil {
		b.Fatal(err)
	}
	n, err := f.Networks().Create(b.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10000 {
		if _, err := f.Machines().Create(b.Context(), providers.MachineSpec{Owner: "demo", Name: fmt.Sprintf("m-%d", i), Network: n.ID, Type: "small"}); err != nil {
			b.Fatal(err)
		}
	}
	o := remote.Options{Path: path, Name: "fakeplug", Attributes: map[string]any{"path": world}}
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			p, err := remote.Open(b.Context(), remote.Options{Path: path, Name: "fakeplug"})
			if err != nil {
				b.Fatal(err)
			}
			p.Close()
		}
	})
	p, err := remote.Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for name, v := range map[string]providers.Provider{"pipe": p, "direct": f} {
		b.Run("get/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := v.Networks().Get(b.Context(), n.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("list 10000/"+name, func(b *testing.B) {
			for b.Loop() {
				if all, err := v.Machines().List(b.Context(), "demo"); err != nil || len(all) != 10000 {
					b.Fatal(len(all), err)
				}
			}
		})
	}
}
