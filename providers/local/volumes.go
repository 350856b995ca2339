package local

import "github.com/provisionhq/provision/providers"

// Volumes returns a value whose methods return Unsupported.
func (*Provider) Volumes() providers.Volumes { return providers.NoVolumes{} }
