package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/bootstrap/bundle"
)

// TestBuildTwice compiles one of the programs twice, to different places, and compares.
func TestBuildTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a program twice")
	}
	t.Chdir("../../..")
	p := &packer{arch: runtime.GOARCH}
	all := programs()
	web := all[slices.IndexFunc(all, func(p program) bool { return p.name == "web" })]
	var got [2][]byte
	for i := range got {
		out := filepath.Join(t.TempDir(), "web")
		if err := run(p.command(t.Context(), web, module{}, out)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		got[i] = data
	}
	if !bytes.Equal(got[0], got[1]) {
		t.Error("two builds of the same source differ")
	}
}

// TestPackTwice makes the same bundle twice, without a cache in common, and reads it back.
func TestPackTwice(t *testing.T) {
	dir := t.TempDir()
	b := fakePrograms(t, dir)
	var got [2][]byte
	for i := range got {
		p := &packer{arch: "amd64", fast: true, cache: t.TempDir(), out: filepath.Join(t.TempDir(), "bin", "bundle.tar.zst")}
		m := &bundle.Manifest{Kubernetes: "v1.37.2", Arch: p.arch}
		contents, err := p.contents(m, b, &notices{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.archive(t.Context(), m, contents); err != nil {
			t.Fatal(err)
		}
		opened, err := bundle.Open(p.out)
		if err != nil {
			t.Fatal(err)
		}
		if err := opened.Verify(); err != nil {
			t.Error(err)
		}
		if got[i], err = os.ReadFile(p.out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got[0], got[1]) {
		t.Error("two bundles of the same programs differ")
	}
}

// fakePrograms stands in for what takes minutes to compile.
func fakePrograms(t *testing.T, dir string) *built {
	t.Helper()
	b := &built{programs: programs(), files: map[string]string{}, modules: map[string]module{}}
	for _, prog := range b.programs {
		b.files[prog.name] = filepath.Join(dir, prog.name)
		b.modules[prog.name] = module{Version: "v1.2.3"}
		if err := os.WriteFile(b.files[prog.name], []byte(strings.Repeat(prog.name, 100)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestPrograms(t *testing.T) {
	all := programs()
	if all[0].path != "bin/kube" {
		t.Errorf("first is %s, want bin/kube: it is extracted alone", all[0].path)
	}
	for _, prog := range all {
		if (prog.image == nil) == (prog.path == "") {
			t.Errorf("%s: runs on the node: %t, runs in a container: %t, want one of them", prog.name, prog.path != "", prog.image != nil)
		}
		if prog.image != nil && prog.image.user == "" {
			t.Errorf("%s: runs as root", prog.name)
		}
	}
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "coredns")
	if err := os.WriteFile(file, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	i := &image{name: "registry.k8s.io/coredns/coredns", user: nobody}
	archive, digest, err := i.assemble("coredns", file, "v1.15.0", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"io.containerd.image.name":"registry.k8s.io/coredns/coredns:v1.15.0"`,
		`"Entrypoint":["/coredns"]`,
		`"User":"65532:65532"`,
		`"mediaType":"application/vnd.oci.image.layer.v1.tar"`,
		`"mediaType":"application/vnd.oci.image.config.v1+json"`,
		digest,
	} {
		if !bytes.Contains(archive, []byte(want)) {
			t.Errorf("archive lacks %s", want)
		}
	}
	again, sameDigest, err := i.assemble("coredns", file, "v1.15.0", "amd64")
	if err != nil || sameDigest != digest || !bytes.Equal(again, archive) {
		t.Errorf("second time: got digest %s and %v, want %s and the same bytes", sameDigest, err, digest)
	}
}

func TestLicenceID(t *testing.T) {
	tests := []struct{ text, want string }{
		{"Apache License\n   Version 2.0, January 2004", "Apache-2.0"},
		{"Mozilla Public License, version 2.0 … GNU Lesser General Public License, Version 2.1", "MPL-2.0"},
		{"GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999", "LGPL-2.1-or-later"},
		{"Permission is hereby granted, free of charge, …\nThe above copyright notice and this permission\nnotice shall", "MIT"},
		{"Redistribution and use in source and binary forms … Neither the name of", "BSD-3-Clause"},
		{"Redistribution and use in source and binary forms", "BSD-2-Clause"},
		{"This product includes software developed at CoreOS", ""},
	}
	for _, test := range tests {
		if got := licenceID(test.text); got != test.want {
			t.Errorf("licence of %.40q: got %q, want %q", test.text, got, test.want)
		}
	}
}

func TestLinkerStampsAreInOrder(t *testing.T) {
	prog := programs()[0]
	want := prog.linkerStamps(module{Version: "v1.37.2"})
	for range 20 {
		if got := prog.linkerStamps(module{Version: "v1.37.2"}); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	if !strings.Contains(want, " -X k8s.io/component-base/version.gitVersion=v1.37.2") {
		t.Errorf("got %s, want the version of Kubernetes", want)
	}
}
