package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	xmodule "golang.org/x/mod/module"

	"github.com/provisionhq/provision/bootstrap/bundle"
)

// notices are the licences of all that is in a bundle.
type notices struct {
	parts []part // sorted by name
}

// A part is a module, or a C library that is linked in.
type part struct {
	name, version string
	licence       string   // SPDX identifier, or several joined by AND
	texts         []string // licence and notice files
	users         []string // programs
}

// licenceFile matches the files that a licence asks to be passed on.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense|patents)([.-].*)?$`)

// collectNotices reads from every program which modules it was linked from, and their licences from the module cache.
func collectNotices(ctx context.Context, b *built) (*notices, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	dirs := strings.Fields(string(out))
	parts := map[string]*part{}
	use := func(name, version, dir, user string) error {
		p := parts[name+"@"+version]
		if p == nil {
			p = &part{name: name, version: version}
			if err := p.read(dir); err != nil {
				return err
			}
			parts[name+"@"+version] = p
		}
		p.users = append(p.users, user)
		return nil
	}
	for _, prog := range b.programs {
		for _, lib := range systemLibraries(prog) {
			if err := use(lib.name, lib.version, lib.dir, prog.name); err != nil {
				return nil, err
			}
		}
		if prog.name == "pause" {
			if err := use(prog.module, b.version("pause"), b.modules["pause"].Dir, prog.name); err != nil {
				return nil, err
			}
			continue
		}
		info, err := buildinfo.ReadFile(b.files[prog.name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", prog.name, err)
		}
		if err := use("Go standard library", info.GoVersion, dirs[1], prog.name); err != nil {
			return nil, err
		}
		for _, m := range append(info.Deps, &info.Main) {
			if strings.HasPrefix(m.Path, "github.com/provisionhq/") {
				continue
			}
			if m.Replace != nil {
				m = m.Replace
			}
			dir, err := moduleDir(dirs[0], m.Path, m.Version)
			if err != nil {
				return nil, err
			}
			if err := use(m.Path, m.Version, dir, prog.name); err != nil {
				return nil, err
			}
		}
	}
	n := new(notices)
	for _, p := range parts {
		n.parts = append(n.parts, *p)
	}
	slices.SortFunc(n.parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
	})
	return n, nil
}

func moduleDir(cache, path, version string) (string, error) {
	escapedPath, err := xmodule.EscapePath(path)
	if err != nil {
		return "", err
	}
	escapedVersion, err := xmodule.EscapeVersion(version)
	return filepath.Join(cache, escapedPath+"@"+escapedVersion), err
}

type systemLibrary struct{ name, version, dir string }

// systemLibraries are the C libraries that are linked into a program statically, with Debian's record of their licences.
func systemLibraries(prog program) []systemLibrary {
	glibc := systemLibrary{"GNU C Library", "system", "/usr/share/doc/libc6-dev"}
	switch {
	case prog.name == "pause":
		return []systemLibrary{glibc}
	case prog.cgo:
		return []systemLibrary{glibc, {"libseccomp", "system", "/usr/share/doc/libseccomp-dev"}}
	}
	return nil
}

// read finds the licence texts at the top of dir.
func (p *part) read(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("licence of %s: %w", p.name, err)
	}
	var ids []string
	for _, e := range entries {
		if !e.Type().IsRegular() || !(licenceFile.MatchString(e.Name()) || e.Name() == "copyright") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		p.texts = append(p.texts, strings.TrimSpace(strings.ReplaceAll(string(data), "\r\n", "\n")))
		if id := licenceID(string(data)); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(p.texts) == 0 {
		return fmt.Errorf("licence of %s: no licence file in %s", p.name, dir)
	}
	slices.Sort(ids)
	p.licence = cmp.Or(strings.Join(ids, " AND "), "see its text")
	return nil
}

// phrases tell licences apart: a text has the licence of the first line whose phrases it all holds.
var phrases = []struct {
	id   string
	need []string
}{
	{"MPL-2.0", []string{"mozilla public license", "2.0"}},
	{"LGPL-2.1-or-later", []string{"gnu lesser general public license", "version 2.1"}},
	{"Apache-2.0", []string{"apache license", "version 2.0, january 2004"}},
	{"Apache-2.0", []string{"licensed under the apache license, version 2.0"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "neither the name"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "names of its contributors"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}},
	{"ISC", []string{"permission to use, copy, modify, and", "distribute this software for any purpose with or without fee"}},
	{"MIT", []string{"permission is hereby granted, free of charge", "the above copyright notice and this permission notice"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}},
}

// licenceID names the licence of a text, or returns "" if it is none of those known, as for a notice.
func licenceID(text string) string {
	plain := strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for _, p := range phrases {
		if !slices.ContainsFunc(p.need, func(s string) bool { return !strings.Contains(plain, s) }) {
			return p.id
		}
	}
	return ""
}

const (
	etcdModule    = "go.etcd.io/etcd/server/v3"
	flannelModule = "github.com/flannel-io/flannel"
)

// components are the programs that have a version of their own; etcd and flannel live inside kube.
func (n *notices) components(b *built) []bundle.Component {
	var list []bundle.Component
	add := func(name, version, mod string) {
		list = append(list, bundle.Component{Name: name, Version: version, Module: mod, Licence: n.licence(mod, version)})
	}
	for _, prog := range b.programs {
		switch {
		case prog.name == "kube":
			add("kubernetes", b.version("kube"), prog.module)
			add("etcd", n.version(etcdModule), etcdModule)
			add("flannel", n.version(flannelModule), flannelModule)
		case prog.name == "pause":
			add("pause", pauseTag, prog.module)
		case prog.module == "":
			list = append(list, bundle.Component{Name: prog.name, Version: b.version(prog.name), Module: "github.com/provisionhq/provision", Licence: "Apache-2.0"})
		default:
			add(prog.name, b.version(prog.name), prog.module)
		}
	}
	return list
}

func (n *notices) version(mod string) string {
	for _, p := range n.parts {
		if p.name == mod {
			return p.version
		}
	}
	return ""
}

func (n *notices) licence(mod, version string) string {
	for _, p := range n.parts {
		if p.name == mod && (p.version == version || strings.HasPrefix(mod, "k8s.io/kubernetes")) {
			return p.licence
		}
	}
	return ""
}

// table is the document in the repository: every module with its licence, without the texts.
func (n *notices) table() []byte {
	var buf bytes.Buffer
	buf.WriteString("# Third-party notices\n\n" +
		"What the bundle is made of, read from the build information of its programs by `make bundle`.\n" +
		"The full texts are in `NOTICES.md` inside the bundle.\n\n" +
		"| module | version | licence | in |\n|---|---|---|---|\n")
	for _, p := range n.parts {
		fmt.Fprintf(&buf, "| %s | %s | %s | %s |\n", p.name, p.version, p.licence, strings.Join(p.users, ", "))
	}
	return buf.Bytes()
}

// texts is the file in the bundle: every text once, under the modules that have it.
func (n *notices) texts() []byte {
	var order []string
	owners := map[[32]byte][]string{}
	for _, p := range n.parts {
		for _, text := range p.texts {
			key := sha256.Sum256([]byte(text))
			if owners[key] == nil {
				order = append(order, text)
			}
			owners[key] = append(owners[key], p.name+" "+p.version)
		}
	}
	var buf bytes.Buffer
	buf.WriteString("# Third-party notices\n\nThe programs of this bundle contain the modules named here, under these terms.\n")
	for _, text := range order {
		buf.WriteString("\n---\n\n")
		for _, owner := range slices.Compact(owners[sha256.Sum256([]byte(text))]) {
			fmt.Fprintf(&buf, "- %s\n", owner)
		}
		fmt.Fprintf(&buf, "\n```\n%s\n```\n", text)
	}
	return buf.Bytes()
}
