package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// permissions are what the provider's calls need, as Google's documentation of each method has it (from memory, not compared yet).
// docs/security.md has them as a role.
const permissions = `
	compute.addresses: create createInternal delete deleteInternal get list setLabels use useInternal
	compute.disks: create createSnapshot delete get list resize setLabels use useReadOnly
	compute.firewalls: create delete get list update
	compute.forwardingRules: create delete get setLabels
	compute.globalOperations: get
	compute.images: get getFromFamily useReadOnly
	compute.instances: attachDisk create delete detachDisk get getSerialPortOutput list resume setLabels setMetadata setTags start use
	compute.machineTypes: get list
	compute.networkEndpointGroups: attachNetworkEndpoints create delete detachNetworkEndpoints get list use
	compute.networks: create delete get list updatePolicy use useExternalIp
	compute.projects: get
	compute.regionBackendServices: create delete get update use
	compute.regionHealthChecks: create delete get update use useReadOnly
	compute.regionOperations: get
	compute.regions: get
	compute.routers: create delete get update
	compute.routes: list
	compute.snapshots: create delete get list setLabels useReadOnly
	compute.subnetworks: create delete get list use useExternalIp
	compute.zoneOperations: get`

// actAs is needed of the service account that machines get.
const actAs = "iam.serviceAccounts.actAs"

// Permissions are those that the provider needs of the project, sorted.
func Permissions() (all []string) {
	for line := range strings.SplitSeq(strings.TrimSpace(permissions), "\n") {
		of, verbs, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for _, v := range strings.Fields(verbs) {
			all = append(all, of+"."+v)
		}
	}
	return all
}

// notForAgents are those that only who makes networks needs, or looks what a plan may have.
const notForAgents = `
	compute.networks.create compute.networks.delete compute.projects.get compute.regions.get
	compute.routers.create compute.routers.delete compute.routers.update compute.routes.list compute.subnetworks.create compute.subnetworks.delete`

// AgentPermissions are those that a cloud agent needs, sorted.
func AgentPermissions() []string { return without(Permissions(), strings.Fields(notForAgents)) }

// mostTested is how many permissions Google takes in one question.
const mostTested = 100

// missing returns which permissions the caller has not got, of those that are needed at the address.
func (p *Provider) missing(ctx context.Context, url string, needed []string) (all []string, err error) {
	for some := range slices.Chunk(needed, mostTested) {
		question, _ := json.Marshal(map[string]any{"permissions": some}) // a list of strings has no error
		var have struct{ Permissions []string }
		err := p.calm(ctx, func() error { return p.api.ask(ctx, url, string(question), &have) })
		if err != nil {
			return nil, err
		}
		all = append(all, without(some, have.Permissions)...)
	}
	return all, nil
}

// permitted finds out which permissions are missing.
func (a *audit) permitted(ctx context.Context) error {
	p := a.p
	lacking, err := p.missing(ctx, p.api.service("cloudresourcemanager.googleapis.com")+"/v3/projects/"+p.o.Project+":testIamPermissions", Permissions())
	if err := a.unseen("permissions", err); err != nil {
		return err
	}
	a.add(func(r *providers.Report) { r.Missing = append(r.Missing, lacking...) })
	return errors.Join(a.acts(ctx, "service_account", p.o.ServiceAccount), a.acts(ctx, "cloud_agent_account", p.o.CloudAgentAccount))
}

// acts finds out whether machines may get the service account that the attribute names.
func (a *audit) acts(ctx context.Context, attribute, email string) error {
	if email == "" {
		return nil
	}
	lacking, err := a.p.missing(ctx, a.p.api.service("iam.googleapis.com")+"/v1/projects/-/serviceAccounts/"+email+":testIamPermissions", []string{actAs})
	if gone(err) {
		a.problem(providers.Invalid, providers.MachineNoun, "", attribute, "there is no service account %s, or you may not see it", email)
		return nil
	}
	if err := a.unseen("permissions on service account "+email, err); err != nil {
		return err
	}
	a.add(func(r *providers.Report) { r.Missing = append(r.Missing, lacking...) })
	return nil
}

// identified finds out who asks.
func (a *audit) identified(ctx context.Context) error {
	var who struct{ Email string }
	err := a.p.calm(ctx, func() error {
		return a.p.api.ask(ctx, a.p.api.service("www.googleapis.com")+"/oauth2/v2/userinfo", "", &who)
	})
	if who.Email == "" {
		who.Email = a.p.api.email
	}
	a.add(func(r *providers.Report) { r.Identity = who.Email })
	if who.Email == "" && err == nil {
		err = fail(providers.Denied, "the credentials do not tell")
	}
	if who.Email != "" && statusOf(err) != 401 {
		return nil
	}
	return a.unseen("who asks", err)
}
