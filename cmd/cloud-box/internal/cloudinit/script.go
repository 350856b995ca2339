package cloudinit

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Console is the file in a machine's /var/log that has what was written on its console, and Done the one that is there once the
// first boot's work is: it has the exit code of the last command that failed, or 0.
const (
	Console = "console"
	Done    = "cloud-init.done"
)

// consoleService keeps a console before the machine's programs: a machine of the box has none of its own, so /dev/console is a pipe
// into a log. It is opened for writing too, so that it does not end with its first writer.
const consoleService = `#!/bin/sh
rm -f /dev/console
mkfifo -m 0622 /dev/console
exec 3<>/dev/console
exec cat <&3 >>/var/log/` + Console + "\n"

// Script is what a machine runs as root at its first boot to become what the user data asks for. Root's keys are not in it: see
// RootKeys.
func (c *Config) Script() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#!/bin/sh")
	line("code=0")
	put := func(path, mode, text string) {
		line("install -m %s /dev/null %s && echo %s | base64 -d > %s || code=1", mode, path, base64.StdEncoding.EncodeToString([]byte(text)), path)
	}
	line("mkdir -p /etc/service/console /var/lib/cloud")
	put("/etc/service/console/new", "0755", consoleService)
	line("mv /etc/service/console/new /etc/service/console/run")
	line("while [ ! -p /dev/console ]; do sleep 0.02; done")
	for _, u := range c.Users {
		if u.Name != "root" {
			c.user(line, put, u)
		}
	}
	if k := c.HostKey; k != nil {
		put("/etc/ssh/ssh_host_ed25519_key", "0600", k.Private)
		put("/etc/ssh/ssh_host_ed25519_key.pub", "0644", strings.TrimSpace(k.Public)+"\n")
		line("pkill -HUP -o -x sshd || code=1")
	}
	for _, words := range c.Commands {
		line("%s || code=$?", quoted(words))
	}
	for i, s := range c.Scripts {
		path := fmt.Sprintf("/var/lib/cloud/part-%d", i)
		put(path, "0700", s)
		line("%s || code=$?", path)
	}
	line("echo $code > /var/log/new.done && mv /var/log/new.done /var/log/%s", Done)
	return b.String()
}

func (c *Config) user(line func(string, ...any), put func(path, mode, text string), u User) {
	shell := u.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	line("id %s >/dev/null 2>&1 || useradd -m -s '%s' %s || code=1", u.Name, shell, u.Name)
	line("usermod -p '*' %s || code=1", u.Name) // no password, and not locked: sshd lets nobody in who is
	line("home=$(getent passwd %s | cut -d: -f6)", u.Name)
	line("install -d -m 0700 -o %s $home/.ssh || code=1", u.Name)
	put("$home/.ssh/authorized_keys", "0600", strings.Join(u.AuthorizedKeys, "\n")+"\n")
	line("chown -R %s: $home/.ssh || code=1", u.Name)
	if u.Sudo != "" {
		line("mkdir -p /etc/sudoers.d")
		put("/etc/sudoers.d/90-"+u.Name, "0440", u.Name+" "+u.Sudo+"\n")
	}
}

// RootKeys are the lines of those who may log in as root.
func (c *Config) RootKeys() (all []string) {
	for _, u := range c.Users {
		if u.Name == "root" {
			all = append(all, u.AuthorizedKeys...)
		}
	}
	return all
}

// quoted is a command for a shell, word by word.
func quoted(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(all, " ")
}
