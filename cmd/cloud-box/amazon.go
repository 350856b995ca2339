//go:build linux

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/cloudinit"
	"github.com/provisionhq/provision/cmd/cloud-box/internal/rack"
	"github.com/provisionhq/provision/providers/aws/awstest"
)

// amazon is AWS in a box: moto behind the proxy of awstest keeps the API's state, the rack has the machines.
//
// An instance's public address is its private one, which this host reaches. A balancer's DNS name is its address. Security groups,
// routes and NAT are on paper: machines of one VPC reach each other, this host reaches them, and they reach what this host does.
type amazon struct {
	rack  *rack.Rack
	cloud *awstest.Cloud
	say   func(format string, args ...any)

	balancing sync.Mutex // one reconciliation at a time

	mu      sync.Mutex
	regions map[string]bool
	fronts  map[string]netip.Addr // by balancer's name
	sizes   map[types.InstanceType]size
}

type size struct{ cpus, memory int }

// openAmazon starts the cloud. The calling goroutine must be locked to its thread: moto ends with that.
func openAmazon(ctx context.Context, o options) (vendor, error) {
	a := &amazon{say: o.say, regions: map[string]bool{}, fronts: map[string]netip.Addr{}, sizes: map[types.InstanceType]size{}}
	a.rack = rack.New(rack.Folder(o.folder), a.rebalance)
	var err error
	a.cloud, err = awstest.New(ctx, awstest.Options{Hook: a.hook, Prepare: prepare, Log: func(r awstest.Request) {
		o.entry(entry{r.Service, r.Action, r.Mutating, r.Status, r.Code, r.Took.Seconds()})
	}})
	if err != nil {
		return nil, err
	}
	a.cloud.SetConsole(a.rack.Console)
	return a, nil
}

// prepare makes moto end with this thread, and keeps what is meant for AWS's own tools from it: it would look for a profile.
func prepare(c *exec.Cmd) {
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	c.Env = slices.DeleteFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, "AWS_") })
}

// environment is what a client needs to know, with keys that are none, and without files that could have others.
func (a *amazon) environment() map[string]string {
	return map[string]string{"AWS_ENDPOINT_URL": a.cloud.URL, "AWS_ACCESS_KEY_ID": "cloud-box", "AWS_SECRET_ACCESS_KEY": "cloud-box", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull}
}

func (a *amazon) endpoint() string { return a.cloud.URL }

func (a *amazon) close(ctx context.Context) error {
	err := a.cloud.Close()
	if clear := a.rack.Clear(ctx); clear != nil {
		return clear
	}
	return err
}

// clients ask moto itself, as the hardware's own look at the API's state.
func (a *amazon) clients(region string) (*ec2.Client, *elb.Client) {
	behind := a.cloud.Behind()
	cfg := aws.Config{Region: region, BaseEndpoint: &behind, Credentials: credentials.NewStaticCredentialsProvider("cloud-box", "cloud-box", "")}
	return ec2.NewFromConfig(cfg), elb.NewFromConfig(cfg)
}

// hook lets the rack take part in what is asked of the API.
func (a *amazon) hook(r *awstest.Request, ask func() *awstest.Answer) *awstest.Answer {
	ctx := context.Background()
	a.mu.Lock()
	a.regions[r.Region] = true
	a.mu.Unlock()
	var out *awstest.Answer
	switch r.Action {
	case "RunInstances":
		out = a.run(ctx, r, ask)
	case "CreateVpc":
		out = a.createVPC(ctx, r, ask)
	case "DeleteVpc":
		out = a.deleteVPC(ctx, r, ask)
	case "TerminateInstances":
		out = a.each(r, ask, a.rack.End)
	case "StopInstances":
		out = a.each(r, ask, a.rack.Stop)
	case "StartInstances":
		out = a.each(r, ask, a.rack.Start)
	case "AttachVolume", "RebootInstances", "AssociateVpcCidrBlock", "CreateVpcPeeringConnection", "AssociateAddress":
		out = awstest.Refuse("UnsupportedOperation", "the cloud in a box has no hardware for "+r.Action)
	case "DescribeTargetHealth":
		out = a.health(ctx, r, ask())
	default:
		if out = ask(); r.Mutating && r.Service == "elasticloadbalancing" && out.Code == "" {
			if err := a.balance(ctx, r.Region); err != nil {
				return awstest.Refuse("InternalFailure", "cloud in a box: "+err.Error())
			}
		}
	}
	if out.Code == "" {
		out.Tree.Each(a.dress)
	}
	return out
}

// each does something with each instance that a request names, after moto has agreed.
func (a *amazon) each(r *awstest.Request, ask func() *awstest.Answer, do func(id string)) *awstest.Answer {
	out := ask()
	for i := 1; out.Code == "" && r.Form.Get(fmt.Sprintf("InstanceId.%d", i)) != ""; i++ {
		do(r.Form.Get(fmt.Sprintf("InstanceId.%d", i)))
	}
	return out
}

// run begins to boot a machine for a new instance.
func (a *amazon) run(ctx context.Context, r *awstest.Request, ask func() *awstest.Answer) *awstest.Answer {
	data, err := base64.StdEncoding.DecodeString(r.Form.Get("UserData"))
	if err != nil {
		return awstest.Refuse("InvalidParameterValue", "Invalid BASE64 encoding of user data.")
	}
	config, err := cloudinit.Parse(data)
	switch {
	case err != nil:
		return awstest.Refuse("InvalidParameterValue", "cloud in a box: "+err.Error())
	case r.Form.Get("MaxCount") != "1":
		return awstest.Refuse("UnsupportedOperation", "the cloud in a box runs one instance at a time")
	}
	s, err := a.size(ctx, r)
	if err != nil {
		return awstest.Refuse("InvalidParameterValue", err.Error())
	}
	out := ask()
	if out.Code != "" {
		return out
	}
	i := func(name string) string { return out.Tree.Get("instancesSet", "item", name) }
	id, vpc := i("instanceId"), i("vpcId")
	address, err := netip.ParseAddr(i("privateIpAddress"))
	if err == nil {
		err = a.network(ctx, r.Region, vpc)
	}
	if err == nil {
		err = a.rack.Run(rack.Order{ID: id, Network: vpc, Address: address, CPUs: s.cpus, Memory: s.memory, Config: config})
	}
	if err != nil {
		a.undo(ctx, r.Region, id)
		return awstest.Refuse("Server.InternalError", "cloud in a box: "+err.Error())
	}
	return out
}

// undo ends an instance at the API that has no machine.
func (a *amazon) undo(ctx context.Context, region, id string) {
	e, _ := a.clients(region)
	if _, err := e.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		a.say("end instance %s: %v", id, err)
	}
}

// size looks up what a machine of the requested type is like.
func (a *amazon) size(ctx context.Context, r *awstest.Request) (size, error) {
	name := types.InstanceType(r.Form.Get("InstanceType"))
	a.mu.Lock()
	s, ok := a.sizes[name]
	a.mu.Unlock()
	if ok {
		return s, nil
	}
	e, _ := a.clients(r.Region)
	out, err := e.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{name}})
	if err != nil {
		return s, err
	}
	for _, t := range out.InstanceTypes {
		s = size{int(aws.ToInt32(t.VCpuInfo.DefaultVCpus)), int(aws.ToInt64(t.MemoryInfo.SizeInMiB))}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sizes[name] = s
	return s, nil
}

// network makes the machines' network of a VPC.
func (a *amazon) network(ctx context.Context, region, vpc string) error {
	if slices.Contains(a.rack.Networks(), vpc) {
		return nil
	}
	e, _ := a.clients(region)
	out, err := e.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpc}})
	if err != nil {
		return err
	}
	cidr, err := netip.ParsePrefix(aws.ToString(out.Vpcs[0].CidrBlock))
	if err != nil {
		return err
	}
	return a.rack.Network(ctx, vpc, cidr)
}

func (a *amazon) createVPC(ctx context.Context, r *awstest.Request, ask func() *awstest.Answer) *awstest.Answer {
	out := ask()
	if out.Code != "" {
		return out
	}
	vpc := out.Tree.Get("vpc", "vpcId")
	if err := a.network(ctx, r.Region, vpc); err != nil {
		e, _ := a.clients(r.Region)
		if _, err := e.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &vpc}); err != nil {
			a.say("delete VPC %s: %v", vpc, err)
		}
		return awstest.Refuse("InvalidVpc.Range", "cloud in a box: "+err.Error())
	}
	return out
}

func (a *amazon) deleteVPC(ctx context.Context, r *awstest.Request, ask func() *awstest.Answer) *awstest.Answer {
	out := ask()
	if out.Code != "" {
		return out
	}
	if err := a.rack.DropNetwork(ctx, r.Form.Get("VpcId")); err != nil {
		a.say("%v", err) // clean removes it
	}
	return out
}

// states are EC2's names and codes of a machine's phases.
func states(p rack.Phase) (name, code string) {
	switch p {
	case rack.Booting:
		return "pending", "0"
	case rack.Running:
		return "running", "16"
	case rack.Stopping:
		return "stopping", "64"
	case rack.Stopped:
		return "stopped", "80"
	case rack.Ending:
		return "shutting-down", "32"
	}
	return "terminated", "48"
}

// dress makes an element of an answer show the hardware as it is.
func (a *amazon) dress(t awstest.Tree) {
	if name := t.Get("LoadBalancerName"); name != "" && t.Get("DNSName") != "" {
		a.mu.Lock()
		address, ok := a.fronts[name]
		a.mu.Unlock()
		if ok {
			t.Set(address.String(), "DNSName")
		}
	}
	id := t.Get("instanceId")
	if id == "" || t.Get("instanceState", "name") == "" {
		return
	}
	phase, why := a.rack.Phase(id)
	if phase == rack.None {
		return
	}
	name, code := states(phase)
	t.Set(name, "instanceState", "name")
	t.Set(code, "instanceState", "code")
	if phase == rack.Failed {
		t.Set("Server.InternalError", "stateReason", "code")
		t.Set(fmt.Sprintf("cloud in a box: %v", why), "stateReason", "message")
	}
	address := t.Get("privateIpAddress")
	public := t.Get("ipAddress")
	if public == "" || address == "" {
		return
	}
	t.Each(func(n awstest.Tree) {
		if n.Get("publicIp") == public {
			n.Set(address, "publicIp")
		}
	})
	t.Set(address, "ipAddress")
	t.Set("", "dnsName")
}
