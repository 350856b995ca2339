package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// nodeLabels reads the labels that the pool's nodes get.
func (r *reader) nodeLabels() map[string]string {
	items := r.textMap("labels")
	if len(items) == 0 {
		return nil
	}
	labels := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(items)) {
		v := items[key]
		labels[key] = v.text
		if problem := checkLabelKey(key); problem != "" {
			r.l.report(r.l.diag(diag.BadLabel, v.place, r.in, "%s", problem))
		} else if problem := checkLabelValue(v.text); problem != "" {
			r.l.report(r.l.diag(diag.BadLabel, v.place, r.in, "%s", problem))
		} else if who := reservedFor(key); who != "" {
			r.l.report(r.l.diag(diag.LabelReserved, v.place, r.in, "The label %s is set by %s on every node, so a file cannot set it.", key, who))
		}
	}
	return labels
}

// checkLabelKey returns what is wrong with the key of a label or taint, or "".
func checkLabelKey(key string) string {
	prefix, name, ok := strings.Cut(key, "/")
	if !ok {
		prefix, name = "", key
	}
	subdomain := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	if ok && (!subdomain.MatchString(prefix) || len(prefix) > 253) {
		return fmt.Sprintf("%q cannot be a key: what stands before the slash has to be a domain in small letters, like example.com.", key)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`).MatchString(name) || len(name) > 63 {
		return fmt.Sprintf("%q cannot be a key: its name has to be 1 to 63 letters, digits, hyphens, dots and underscores that begin and end with a letter or digit.", key)
	}
	return ""
}

// checkLabelValue returns what is wrong with the value of a label or taint, or "".
func checkLabelValue(v string) string {
	if !regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$`).MatchString(v) || len(v) > 63 {
		return fmt.Sprintf("%q cannot be a value: it has to be at most 63 letters, digits, hyphens, dots and underscores that begin and end with a letter or digit.", v)
	}
	return ""
}

// reservedFor says who sets a label, so that a file cannot; "" if nobody does. Other labels below kubernetes.io may be
// set: not by the kubelet, but provision does it through the API.
func reservedFor(key string) string {
	switch prefix, _, _ := strings.Cut(key, "/"); {
	case prefix == "provision.sh":
		return "provision"
	case prefix == "beta.kubernetes.io", prefix == "failure-domain.beta.kubernetes.io":
		return "Kubernetes"
	}
	switch key {
	case "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch":
		return "the kubelet"
	case "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone", "topology.kubernetes.io/region":
		return "the vendor's cloud controller"
	case "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master":
		return "provision"
	}
	return ""
}

// nodeTaints reads the taints that the pool's nodes get, written as kubectl writes them: key=value:effect.
func (r *reader) nodeTaints() []Taint {
	var ts []Taint
	seen := map[string]bool{}
	for _, i := range r.texts("taints") {
		t, problem := parseTaint(i.text)
		if id := t.Key + ":" + t.Effect; problem == "" && seen[id] {
			problem = fmt.Sprintf("There is another taint %s with the effect %s.", t.Key, t.Effect)
		} else {
			seen[id] = true
		}
		if problem != "" {
			r.l.report(r.l.diag(diag.BadTaint, i.place, r.in, "%s", problem))
			continue
		}
		ts = append(ts, t)
	}
	return ts
}

// parseTaint reads key=value:effect or key:effect, and returns what is wrong with it.
func parseTaint(s string) (Taint, string) {
	keyValue, effect, ok := strings.Cut(s, ":")
	if !ok {
		return Taint{}, fmt.Sprintf("%q has no effect. A taint is written as key=value:effect, like dedicated=gpu:NoSchedule.", s)
	}
	key, value, _ := strings.Cut(keyValue, "=")
	t := Taint{Key: key, Value: value, Effect: effect}
	effects := []string{"NoExecute", "NoSchedule", "PreferNoSchedule"}
	if !slices.Contains(effects, effect) {
		return t, fmt.Sprintf("%q is not an effect.%s There are %s.", effect, diag.DidYouMean(effect, effects), diag.List(effects))
	}
	if problem := checkLabelKey(key); problem != "" {
		return t, problem
	}
	if problem := checkLabelValue(value); problem != "" {
		return t, problem
	}
	prefix, _, _ := strings.Cut(key, "/")
	if prefix == "node.kubernetes.io" || prefix == "node.cloudprovider.kubernetes.io" || key == "node-role.kubernetes.io/control-plane" {
		return t, fmt.Sprintf("The taint %s is set and removed by the cluster itself, so a file cannot set it.", key)
	}
	return t, ""
}
