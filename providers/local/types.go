package local

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

const arch = runtime.GOARCH

// sizes are the machine types by name: processors and GiB of memory.
func sizes() map[string][2]int {
	return map[string][2]int{
		"micro":   {1, 1},
		"small":   {2, 2},
		"medium":  {2, 4},
		"large":   {4, 8},
		"xlarge":  {8, 16},
		"2xlarge": {16, 32},
	}
}

// machineTypes returns the types, sorted by name, none larger than a host of so many processors and so much memory.
func machineTypes(cpus, memoryMiB int) []providers.MachineType {
	var types []providers.MachineType
	for name, s := range sizes() {
		types = append(types, providers.MachineType{
			Name:      name,
			CPUs:      min(s[0], cpus) * 1000,
			MemoryMiB: min(s[1]*1024, memoryMiB),
			Arch:      arch,
		})
	}
	slices.SortFunc(types, func(a, b providers.MachineType) int { return strings.Compare(a.Name, b.Name) })
	return types
}

// typeNamed returns the type of that name; an error that wraps Invalid and names the others if there is none.
func typeNamed(name string, types []providers.MachineType) (providers.MachineType, error) {
	var names []string
	for _, t := range types {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return providers.MachineType{}, fmt.Errorf("type %q: %w: there are %s", name, providers.Invalid, strings.Join(names, ", "))
}
