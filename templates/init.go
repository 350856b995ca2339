package templates

// RenderUnit returns the node agent's systemd unit, for UnitPath.
func RenderUnit() []byte { return static("node-agent.service") }

// RenderOpenRC returns the node agent's service script of OpenRC, for OpenRCPath. It must be executable.
func RenderOpenRC() []byte { return static("node-agent.openrc") }

// RenderRun returns the node agent's run script for runit and its likes, for the file run in ServiceDir. It must be
// executable.
func RenderRun() []byte { return static("run.sh") }
