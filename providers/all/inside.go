package all

import (
	"debug/elf"
	"fmt"
	"maps"
	"slices"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote"
	"github.com/provisionhq/provision/providers/remote/plugins"
)

// Inside returns the attributes that a cloud agent opens the plug-in with, given what the plug-in says: those that it names, without
// anything that the file marks as sensitive, and then those that the file itself gives in the attribute inside.
func (p Plugin) Inside(said providers.Inside) (map[string]any, error) {
	given, err := inside(p.Attributes)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	var secrets []string
	for _, name := range p.Sensitive {
		secrets = append(secrets, texts(p.Attributes[name])...)
	}
	there := map[string]any{}
	for name, v := range said.Attributes {
		secret := slices.Contains(p.Sensitive, name) || slices.ContainsFunc(texts(v), func(t string) bool { return t != "" && slices.Contains(secrets, t) })
		if !secret {
			there[name] = v
		}
	}
	maps.Copy(there, given)
	return there, nil
}

// SensitiveInside are the names of those attributes that no log of a node may show.
func (p Plugin) SensitiveInside() []string {
	if !slices.Contains(p.Sensitive, insideAttribute) {
		return nil
	}
	given, _ := inside(p.Attributes)
	return slices.Sorted(maps.Keys(given))
}

// insideAttribute is the attribute of every plug-in's block that the program on the person's machine does not get.
const insideAttribute = "inside"

func inside(attributes map[string]any) (map[string]any, error) {
	v, ok := attributes[insideAttribute]
	if !ok {
		return nil, nil
	}
	given, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("attribute %s: %w: it must be an object: inside = { NAME = VALUE }", insideAttribute, providers.Invalid)
	}
	return given, nil
}

// Program returns the path of the plug-in's program for nodes of an architecture, which run Linux. It may run as the plug-in itself
// may, and it can run there. Errors are a *plugins.Refusal or a *remote.Fault.
func (p Plugin) Program(arch string) (string, error) {
	found, err := p.Place.FindFor(p.Name, arch)
	if err != nil {
		return "", err
	}
	pins, err := plugins.Pins(p.Attributes["sha256"])
	if err != nil {
		return "", fmt.Errorf("provider %s: %w", p.Name, err)
	}
	if err := p.Place.Verify(found, pins); err != nil {
		return "", err
	}
	if err := runsOn(found.Path, arch); err != nil {
		return "", &remote.Fault{Reason: remote.Unfit, Name: p.Name, Path: found.Path, What: fmt.Sprintf(
			"cannot run on the cluster's nodes, which are linux/%s and need it for their cloud agent: %v. Put the program for them beside it, as %s%s",
			arch, err, plugins.Prefix, plugins.For(p.Name, arch))}
	}
	return found.Path, nil
}

// runsOn says why a program does not run on Linux of that architecture, as far as its first bytes tell.
func runsOn(path, arch string) error {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("it is no program for Linux")
	}
	defer f.Close()
	if want, ok := machines[arch]; !ok || f.Machine != want || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("it is for %s", f.Machine)
	}
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			return fmt.Errorf("it needs libraries of the system (with Go, build it with CGO_ENABLED=0)")
		}
	}
	return nil
}
