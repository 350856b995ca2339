//go:build e2e

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/rack"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
)

// TestMain lets the test's program be a keeper of what the tests make.
func TestMain(m *testing.M) {
	if ran, code := keeper.Part(os.Args, local.Clear); ran {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// program is the one that make build makes.
func program(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/cloud-box")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: run make build", err)
	}
	return path
}

// begin starts a box of AWS and returns a client of it and its process.
func begin(t *testing.T, folder string) (*ec2.Client, *exec.Cmd) {
	t.Helper()
	keeper.Keep(t, keeper.Kept{Folder: rack.Folder(folder)}, local.Clear)
	c := exec.Command(program(t), "aws", "--folder", folder, "--tied")
	in, err1 := c.StdinPipe()
	out, err2 := c.StdoutPipe()
	c.Stderr = os.Stderr
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = c.Wait() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var b Box
	if err == nil {
		err = json.Unmarshal(line, &b)
	}
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return ec2.NewFromConfig(aws.Config{Region: "eu-west-1", BaseEndpoint: &b.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}), c
}

func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// an instance of a test in a subnet.
func instance(t *testing.T, e *ec2.Client, subnet, data string) (string, error) {
	t.Helper()
	out, err := e.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: aws.String("ami-00000000000deb001"), InstanceType: types.InstanceTypeT3Small, SubnetId: &subnet,
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1), UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(data)))})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Instances[0].InstanceId), nil
}

// until waits until the instance is in a state and returns it.
func until(t *testing.T, e *ec2.Client, id string, want types.InstanceStateName) types.Instance {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		out, err := e.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		i := out.Reservations[0].Instances[0]
		if i.State.Name == want {
			return i
		}
		if time.Now().After(deadline) {
			t.Fatalf("instance %s is %s, want %s: %+v", id, i.State.Name, want, i.StateReason)
		}
	}
}

// answers says whether SSH answers at the address.
func answers(address string) bool {
	c, err := net.DialTimeout("tcp", address+":22", time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	b := make([]byte, 4)
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, err = io.ReadFull(c, b)
	return err == nil && string(b) == "SSH-"
}

// links are those of this host that networks of provider local have.
func links(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ip -o link | awk -F': ' '{print $2}' | grep '^pv' | sort; grep -c cloud-box-test /proc/self/mountinfo").Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

// TestE2EBox runs an instance as any client of AWS would, stops it, starts it, ends it; and kills the box with one that runs.
func TestE2EBox(t *testing.T) {
	before := links(t)
	folder := filepath.Join(t.TempDir(), "cloud-box-test")
	e, box := begin(t, folder)
	vpc, err := e.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.77.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := e.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String("10.77.16.0/20")})
	if err != nil {
		t.Fatal(err)
	}
	subnet := aws.ToString(sub.Subnet.SubnetId)
	if _, err := instance(t, e, subnet, "#cloud-config\npackages: [nginx]\n"); code(err) != "InvalidParameterValue" || !strings.Contains(err.Error(), "packages") {
		t.Errorf("user data that the box does not know: %v", err)
	}
	if _, err := e.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: aws.String("vol-1"), InstanceId: aws.String("i-1"), Device: aws.String("/dev/sdf")}); code(err) != "UnsupportedOperation" {
		t.Errorf("a volume: %v", err)
	}
	id, err := instance(t, e, subnet, "#cloud-config\nhostname: one\nusers: [{name: ops, sudo: 'ALL=(ALL) NOPASSWD:ALL'}]\nruncmd: ['echo $(hostname) $(id -u ops) > /dev/console']\n")
	if err != nil {
		t.Fatal(err)
	}
	at := aws.ToString(until(t, e, id, types.InstanceStateNameRunning).PrivateIpAddress)
	if !strings.HasPrefix(at, "10.77.") || !answers(at) {
		t.Errorf("%s does not answer SSH", at)
	}
	out, err := e.GetConsoleOutput(t.Context(), &ec2.GetConsoleOutputInput{InstanceId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if said, _ := base64.StdEncoding.DecodeString(aws.ToString(out.Output)); !strings.HasPrefix(string(said), "one 1") {
		t.Errorf("the console has %q", said)
	}
	if _, err := e.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if until(t, e, id, types.InstanceStateNameStopped); answers(at) {
		t.Error("a stopped instance answers")
	}
	if _, err := e.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if i := until(t, e, id, types.InstanceStateNameRunning); aws.ToString(i.PrivateIpAddress) != at || !answers(at) {
		t.Errorf("started again it is at %s, was at %s", aws.ToString(i.PrivateIpAddress), at)
	}
	if _, err := e.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if until(t, e, id, types.InstanceStateNameTerminated); answers(at) {
		t.Error("a terminated instance answers")
	}
	last, err := instance(t, e, subnet, "")
	if err != nil {
		t.Fatal(err)
	}
	until(t, e, last, types.InstanceStateNameRunning)
	if links(t) == before {
		t.Error("a network of the box is not seen on the host: this test cannot fail")
	}
	if err := box.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = box.Wait()
	if out, err := exec.Command(program(t), "clean", "--folder", folder).CombinedOutput(); err != nil {
		t.Errorf("clean: %v: %s", err, out)
	}
	if after := links(t); after != before {
		t.Errorf("after a box that was killed and clean:\n%swas\n%s", after, before)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
