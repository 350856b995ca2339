package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
)

// A judge collects findings about one host.
type judge struct {
	o *Options
	s *subject
	f facts
	r *[]Finding
}

// find notes a finding. Commands are to be run on the host.
func (j judge) find(id ID, sev Severity, what, mend string, run ...string) {
	where := ""
	if len(run) > 0 {
		where = j.s.Name
	}
	*j.r = append(*j.r, Finding{ID: id, Severity: sev, Host: j.s.Name, What: what, Mend: mend, Run: run, Where: where})
}

// here notes a finding whose commands are to be run on this computer.
func (j judge) here(id ID, sev Severity, what, mend string, run ...string) {
	*j.r = append(*j.r, Finding{ID: id, Severity: sev, Host: j.s.Name, What: what, Mend: mend, Run: run})
}

// judge makes a report of all that was found out.
func (e *examination) judge() *Report {
	r := &Report{Schema: Schema, Cluster: e.o.Cluster, Findings: []Finding{}}
	for _, s := range e.subjects {
		j := judge{&e.o, s, s.facts, &r.Findings}
		if s.failure != nil {
			j.connection(s.failure)
			continue
		}
		if s.facts.one("uid") != "0" {
			j.here(NotRoot, Error, "Commands run as user ID "+s.facts.one("uid")+", not as root.",
				"Log in as root, or as a user who may use sudo without a password.")
			continue
		}
		for _, check := range []func(){j.machine, j.kernel, j.tools, j.security, j.disks, j.diskTime, j.names, j.nameservers, j.belonging, j.ports, j.ranges, j.firewall} {
			check()
		}
		if len(s.skipped) > 0 && (e.o.Arch == "" || goArch(s.facts.one("arch")) == e.o.Arch) { // else that is said already
			j.here(NotExamined, Warning, "Not examined: "+strings.Join(s.skipped, "; ")+".", "See why, and run doctor again.")
		}
	}
	e.together(&r.Findings)
	sortFindings(r.Findings)
	for _, s := range e.subjects {
		r.Hosts = append(r.Hosts, s.examined(r.Findings))
	}
	return r
}

func severityRank(s Severity) int { return slices.Index([]Severity{Error, Warning, Note}, s) }

func sortFindings(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(severityRank(a.Severity), severityRank(b.Severity)), cmp.Compare(rank(a.ID), rank(b.ID)),
			cmp.Compare(a.Mend, b.Mend), strings.Compare(a.Host, b.Host), strings.Compare(a.What, b.What))
	})
}

func (s *subject) examined(fs []Finding) Examined {
	x := Examined{Name: s.Name, Role: string(s.Role), Skipped: s.skipped, Sound: true}
	if s.Address.IsValid() {
		x.Address = s.Address.String()
	}
	for _, f := range fs {
		if f.Host == s.Name && f.Severity != Note {
			x.Sound = false
		}
	}
	if s.disk != nil {
		x.Disk = s.disk.p99.String()
	}
	if s.offset.known {
		x.ClockOff = s.offset.by.Round(time.Millisecond).String()
	}
	return x
}

// connection says why a host could not be talked to.
func (j judge) connection(err error) {
	var key *ssh.HostKeyChanged
	var unknown *ssh.HostKeyUnknown
	var auth *ssh.AuthError
	var sudo *ssh.SudoError
	var silent *ssh.SilentError
	var down *ssh.UnreachableError
	switch {
	case errors.Is(err, ErrStopped):
		j.here(Stopped, Error, "The vendor lists the machine as stopped.", "An apply starts it.", "provision apply")
	case errors.As(err, &key):
		j.here(HostKeyChanged, Error, fmt.Sprintf("%s shows host key %s; known is %s.", key.Addr, key.Got, strings.Join(key.Want, ", ")),
			"It is another machine, it was installed anew, or somebody is in between. Compare with what the host says on its console, and correct the key that is known.",
			"ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub   # on the host's console")
	case errors.As(err, &unknown):
		j.here(HostKeyUnknown, Error, fmt.Sprintf("Nobody has told which host key %s has; %s shows %s.", unknown.Host, unknown.Addr, unknown.Shown.Fingerprint),
			"Compare that with what the machine says on its console, then write the key into the inventory.", "provision hosts keys")
	case errors.As(err, &auth):
		j.here(LoginRefused, Error, fmt.Sprintf("%s does not let user %s in (offered: %s).", auth.Addr, auth.User, cmp.Or(strings.Join(auth.Offered, ", "), "no key")),
			"Put the public key into the user's authorized_keys.", fmt.Sprintf("ssh-copy-id %s@%s", auth.User, hostOf(auth.Addr)))
	case errors.As(err, &sudo):
		j.find(SudoPassword, Error, fmt.Sprintf("User %s cannot become root by sudo: %s.", sudo.User, strings.TrimSuffix(sudo.Reason, ".")),
			"Let the user become root without a password.",
			fmt.Sprintf("echo '%s ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/provision && sudo chmod 440 /etc/sudoers.d/provision", sudo.User))
	case errors.As(err, &silent):
		j.here(Silent, Error, fmt.Sprintf("%s accepts connections and says nothing for %v.", silent.Addr, silent.For), "See what listens there, and whether the machine has hung.", "ssh -v "+hostOf(silent.Addr))
	case errors.As(err, &down):
		j.here(Unreachable, Error, fmt.Sprintf("No connection to %s in %v: %v.", down.Addr, down.For.Round(time.Millisecond), down.Err),
			"See that the machine is on, that its address is right, and that no firewall is between.", "ssh -v "+hostOf(down.Addr))
	case j.s.conn == nil:
		j.here(Unreachable, Error, strings.TrimPrefix(err.Error(), j.s.Name+": ")+".", "See that the machine is on, that its address is right, and that no firewall is between.")
	default:
		j.here(SurveyFailed, Error, "The host let us in and could not be examined: "+strings.TrimPrefix(err.Error(), j.s.Name+": ")+".", "Log in and see what is wrong with its shell.")
	}
}

func hostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i > 0 && !strings.HasSuffix(addr, "]") {
		return strings.Trim(addr[:i], "[]")
	}
	return addr
}
