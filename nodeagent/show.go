package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/provisionhq/provision/templates"
)

// runStatus is the command: it prints how the node is, or waits until it is as wanted.
func runStatus(ctx context.Context, f *flag.FlagSet, args []string, out, errOut io.Writer) error {
	asJSON := f.Bool("json", false, "")
	wait := f.String("wait", "", "")
	timeout := f.Duration("timeout", time.Minute, "")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if *wait != "" {
		progress := out
		if *asJSON {
			progress = errOut
		}
		if err := waitFor(ctx, *wait, *timeout, progress, errOut); err != nil || !*asJSON {
			return err
		}
	}
	res, err := ask(ctx, http.MethodGet, "/status")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if *asJSON {
		_, err = io.Copy(out, res.Body)
		return err
	}
	var s templates.Status
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return err
	}
	return print(out, s)
}

func print(out io.Writer, s templates.Status) error {
	if s.ConfigHash == "" {
		fmt.Fprintln(out, "not configured")
	} else {
		fmt.Fprintf(out, "%s, %s of cluster %s, Kubernetes %s, ready: %t\n", s.Node, s.Role, s.Cluster, s.Kubernetes, s.Ready)
	}
	for _, p := range s.Problems {
		fmt.Fprintln(out, "problem:", p)
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(out, "warning:", warning)
	}
	if e := s.Etcd; e != nil {
		leads := ""
		if e.Leader {
			leads = ", leader"
		}
		fmt.Fprintf(out, "etcd: %s%s\n", e.State, leads)
	}
	if v := s.VIP; v != nil {
		fmt.Fprintln(out, "virtual address:", vipLine(*v))
	}
	for _, a := range s.Addresses {
		fmt.Fprintln(out, "address of a Service:", addressLine(a))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range s.Processes {
		pid := ""
		if p.PID > 0 {
			pid = fmt.Sprint(p.PID)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d restarts\t%s\n", p.Name, p.State, pid, p.Restarts, detail(p))
	}
	return w.Flush()
}

// addressLine says in one line where an address of a Service is.
func addressLine(a templates.AddressStatus) string {
	line := fmt.Sprintf("%s is held by %s", a.Address, a.Holder)
	switch {
	case a.Here:
		line = fmt.Sprintf("%s is here", a.Address)
	case a.Holder == "":
		line = fmt.Sprintf("%s is not here", a.Address)
	}
	if a.Problem != "" {
		line += "; " + a.Problem
	}
	return line
}

// vipLine says in one line where the virtual address is.
func vipLine(v templates.VIPStatus) string {
	line := fmt.Sprintf("%s is held by %s", v.Address, v.Holder)
	switch {
	case v.Here:
		line = fmt.Sprintf("%s is here, on %s", v.Address, v.Interface)
	case v.Holder == "":
		line = fmt.Sprintf("%s is held by nobody", v.Address)
	}
	if len(v.Routers) > 0 && !v.Here {
		line = fmt.Sprintf("%s is not here", v.Address)
	}
	if v.Problem != "" {
		line += "; " + v.Problem
	}
	for _, r := range v.Routers {
		line += fmt.Sprintf("; router %s: %s", r.Address, r.State)
	}
	return line
}

// detail says why a process is not ready.
func detail(p templates.ProcessStatus) string {
	switch {
	case p.Ready:
		return "ready"
	case p.WaitingFor != "":
		return "waits for " + p.WaitingFor
	case p.State == templates.BackOff || p.LastProbe == "":
		return p.LastExit
	case p.LastExit != "":
		return p.LastProbe + "; it ended before: " + p.LastExit
	}
	return p.LastProbe
}

// conditions have a name of their own; other conditions are names of processes, with commas, that must be ready.
func conditions() map[string]string {
	return map[string]string{"runtime": "containerd," + imagesTask, "api": "kube-apiserver"}
}

// waitFor returns when the condition holds: "ready", "runtime", "api", or names of processes. It prints a line for every
// change. If time runs out, it prints the last words of what is to blame.
func waitFor(ctx context.Context, condition string, timeout time.Duration, out, errOut io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last templates.Status
	seen := map[string]string{}
	begun := time.Now()
	err := watchStatus(ctx, func(s templates.Status) bool {
		last = s
		for _, line := range news(s, seen) {
			fmt.Fprintf(out, "%6.2fs %s\n", time.Since(begun).Seconds(), line)
		}
		return holds(s, condition)
	})
	if err == nil {
		return nil
	}
	if errors.Is(err, errNotRunning) {
		return err
	}
	blame(last, errOut)
	blameOthers(errOut)
	return fmt.Errorf("not %s after %s", condition, timeout)
}

// news returns a line for everything that has changed, and notes what it was.
func news(s templates.Status, seen map[string]string) []string {
	var lines []string
	say := func(key, text string) {
		if seen[key] != text {
			seen[key] = text
			lines = append(lines, strings.TrimSpace(key+" "+text))
		}
	}
	for _, p := range s.Processes {
		if p.Ready {
			say(p.Name, "ready")
		} else {
			say(p.Name, state(p))
		}
	}
	say("problem:", strings.Join(s.Problems, "; "))
	return slices.DeleteFunc(lines, func(l string) bool { return l == "problem:" })
}

// state says in a few words what a process does that is not ready.
func state(p templates.ProcessStatus) string {
	switch {
	case p.State == templates.Starting:
		return "starts"
	case p.State == templates.Waiting && p.WaitingFor != "":
		return detail(p)
	case detail(p) != "":
		return fmt.Sprintf("%s: %s", p.State, detail(p))
	}
	return string(p.State)
}

func holds(s templates.Status, condition string) bool {
	if condition == "ready" {
		return s.Ready
	}
	if names, ok := conditions()[condition]; ok {
		condition = names
	}
	for name := range strings.SplitSeq(condition, ",") {
		if !slices.ContainsFunc(s.Processes, func(p templates.ProcessStatus) bool { return p.Name == name && p.Ready }) {
			return false
		}
	}
	return true
}

// blame prints why a condition does not hold: the problems, and the end of the log of the first process that fails.
func blame(s templates.Status, out io.Writer) {
	for _, p := range s.Problems {
		fmt.Fprintln(out, "problem:", p)
	}
	culprit, ok := failing(s)
	if !ok {
		return
	}
	fmt.Fprintf(out, "%s is %s: %s\n", culprit.Name, culprit.State, detail(culprit))
	if b, err := tail(templates.LogDir, culprit.Name, 20); err == nil {
		_, _ = out.Write(b)
	}
}

// failing returns the process to blame: one that dies, before one that is not ready, before one that only waits.
func failing(s templates.Status) (templates.ProcessStatus, bool) {
	for _, state := range []templates.ProcessState{templates.BackOff, templates.Starting, templates.Running, templates.Stopped, templates.Waiting} {
		for _, p := range s.Processes {
			if p.State == state && !p.Ready {
				return p, true
			}
		}
	}
	return templates.ProcessStatus{}, false
}
