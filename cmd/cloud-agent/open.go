package main

import (
	"context"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/all"
	"github.com/provisionhq/provision/templates"
)

// open returns the vendor, patient and within its limits as the command has it; nil where it cannot be asked from a
// node.
func open(_ context.Context, c templates.Cloud) (providers.Provider, error) {
	if c.Blind {
		return nil, nil
	}
	return all.Open(c.Vendor, c.Options)
}
