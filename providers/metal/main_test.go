package metal

import (
	"testing"

	"github.com/provisionhq/provision/providers/metal/metaltest"
)

func TestMain(m *testing.M) { metaltest.Main(m) }
