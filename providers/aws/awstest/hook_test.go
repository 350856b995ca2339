package awstest

import (
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// TestHook lets hardware of the test's own stand behind instances.
func TestHook(t *testing.T) {
	var runs, logged atomic.Int32
	hook := func(r *Request, ask func() *Answer) *Answer {
		if r.Region != "eu-west-1" {
			t.Errorf("region %q", r.Region)
		}
		switch r.Action {
		case "RunInstances":
			runs.Add(1)
		case "RebootInstances":
			return Refuse("UnsupportedOperation", "no <hardware>")
		}
		out := ask()
		if out.Code != "" {
			return out
		}
		out.Tree.Each(func(e Tree) {
			if e.Get("instanceState", "name") != "" {
				e.Set("192.0.2.7", "ipAddress")
				e.Set("made up", "stateReason", "message")
			}
		})
		return out
	}
	e, _ := clients(t, Options{Hook: hook, Log: func(Request) { logged.Add(1) }})
	_, subnet := network(t, e)
	var id string
	for range 2 { // the second is repeated by its token, and takes no effect
		out := must(e.RunInstances(t.Context(), run(subnet, "one", "t3.small")))(t)
		id = aws.ToString(out.Instances[0].InstanceId)
	}
	if runs.Load() != 1 {
		t.Errorf("the hook was asked %d times to run one instance", runs.Load())
	}
	all := must(e.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))(t)
	i := all.Reservations[0].Instances[0]
	if aws.ToString(i.PublicIpAddress) != "192.0.2.7" || i.StateReason == nil || aws.ToString(i.StateReason.Message) != "made up" {
		t.Errorf("the client sees address %q and reason %+v", aws.ToString(i.PublicIpAddress), i.StateReason)
	}
	if _, err := e.RebootInstances(t.Context(), &ec2.RebootInstancesInput{InstanceIds: []string{id}}); code(err) != "UnsupportedOperation" {
		t.Errorf("what the hook refuses: %v", err)
	}
	if _, err := e.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}}); code(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("what moto refuses: %v", err)
	}
	if n, want := int(logged.Load()), len(cloud.Requests()); n != want {
		t.Errorf("%d requests were logged, want %d", n, want)
	}
}
