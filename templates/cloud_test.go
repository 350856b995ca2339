package templates

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestCloudThereAndBack(t *testing.T) {
	c := Cloud{
		Schema: CloudSchema, Cluster: "demo", UID: "u", Vendor: "local", Options: map[string]any{"folder": "/x"},
		Balancers: []Addresses{{netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.0.0.9")}},
		Pools:     []CloudPool{{Name: "web", Max: 3, Types: []string{"small"}}},
	}
	b, err := RenderCloud(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseCloud(b)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %v; want %+v", got, err, c)
	}
}

func TestCloudIsRefused(t *testing.T) {
	for in, want := range map[string]string{
		`{"schema":2}`:                     "schema 2",
		`{"schema":1,"secret":"hunter2"}`:  "unknown field",
		`{"schema":1,"options":"hunter2"}`: "cannot unmarshal",
	} {
		_, err := ParseCloud([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want words %q and no secret", in, err, want)
		}
	}
}

func TestAddressesContain(t *testing.T) {
	r := Addresses{netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.0.0.9")}
	for a, want := range map[string]bool{"10.0.0.7": false, "10.0.0.8": true, "10.0.0.9": true, "10.0.0.10": false} {
		if got := r.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: got %t, want %t", a, got, want)
		}
	}
}

func TestCloudAgentRoles(t *testing.T) {
	b, err := RenderCloudAgent()
	found := objects(t, b, err)
	for _, name := range []string{"ClusterRoleBinding/provision:cloud-controller-manager", "RoleBinding/provision:cloud-agent"} {
		if at(found[name], "subjects", 0, "name") != CloudGroup {
			t.Errorf("%s is not for the group %s: %v", name, CloudGroup, found[name])
		}
	}
	for _, r := range at(found["ClusterRole/provision:cloud-controller-manager"], "rules").([]any) {
		for _, field := range []string{"apiGroups", "resources", "verbs"} {
			for _, v := range at(r, field).([]any) {
				if v == "*" || v == "secrets" {
					t.Errorf("the cloud agents may do too much: %v", r)
				}
			}
		}
	}
}
