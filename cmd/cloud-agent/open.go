package main

import (
	"context"
	"maps"
	"os"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/all"
	"github.com/provisionhq/provision/providers/remote/plugins"
	"github.com/provisionhq/provision/templates"
)

// open returns the vendor, patient and within its limits as the command has it; nil where it cannot be asked from a
// node.
func open(ctx context.Context, c templates.Cloud) (providers.Provider, error) {
	switch {
	case c.Blind:
		return nil, nil
	case c.Plugin != nil:
		return openPlugin(ctx, c, templates.PluginDir, templates.LogDir)
	}
	return all.Open(c.Vendor, c.Options)
}

// openPlugin starts the program in the folder that apply has sent, and no other. What it writes is kept in the folder of logs.
func openPlugin(ctx context.Context, c templates.Cloud, folder, logs string) (providers.Provider, error) {
	attributes := maps.Clone(c.Options)
	if attributes == nil {
		attributes = map[string]any{}
	}
	attributes["sha256"] = c.Plugin.SHA256
	return all.OpenPlugin(ctx, all.Plugin{
		Name: c.Vendor, Attributes: attributes, Sensitive: c.Plugin.Sensitive,
		Place: plugins.Place{Folders: []string{folder}}, Environ: os.Environ(), Logs: logs,
	})
}
