package local

import (
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
)

func TestMachineTypesAreNoLargerThanTheHost(t *testing.T) {
	types := machineTypes(2, 3000)
	for _, c := range []struct {
		name         string
		cpus, memory int
	}{{"micro", 1000, 1024}, {"small", 2000, 2048}, {"medium", 2000, 3000}, {"2xlarge", 2000, 3000}} {
		got, err := typeNamed(c.name, types)
		if err != nil || got.CPUs != c.cpus || got.MemoryMiB != c.memory {
			t.Errorf("type %s on a host of 2 processors and 3000 MiB is %+v, %v; want %d and %d", c.name, got, err, c.cpus, c.memory)
		}
	}
}

func TestTypeUnknown(t *testing.T) {
	_, err := typeNamed("huge", machineTypes(2, 3000))
	if providers.KindOf(err) != providers.Invalid || !strings.Contains(err.Error(), "small") {
		t.Errorf("typeNamed(huge) = %v; want Invalid that names the types there are", err)
	}
}
