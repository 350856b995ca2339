package awstest

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestAssumedRole does as an instance what its role's policy allows, and what it does not, while everybody else may do everything.
func TestAssumedRole(t *testing.T) {
	e, _ := clients(t, Options{})
	c := cloud
	person := iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: &c.URL, Credentials: e.Options().Credentials})
	name := aws.String("agent")
	must(person.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String("{}")}))(t)
	must(person.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: name, PolicyName: name,
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:DescribeVpcs","Resource":"*"}]}`)}))(t)
	must(person.CreateInstanceProfile(t.Context(), &iam.CreateInstanceProfileInput{InstanceProfileName: name}))(t)
	if _, err := c.Assume(t.Context(), "agent", "i-1"); err == nil {
		t.Error("a profile without a role has one")
	}
	must(person.AddRoleToInstanceProfile(t.Context(), &iam.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: name}))(t)
	r, err := c.Assume(t.Context(), "agent", "i-1")
	if err != nil || r.Name != "agent" || r.Profile != "arn:aws:iam::123456789012:instance-profile/agent" || r.Credentials.SessionToken == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	key := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return r.Credentials, nil })
	me := must(sts.New(sts.Options{Region: "eu-west-1", BaseEndpoint: &c.URL, Credentials: key}).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}))(t)
	if *me.Arn != "arn:aws:sts::123456789012:assumed-role/agent/i-1" {
		t.Errorf("it is %s", *me.Arn)
	}
	inside := ec2.New(ec2.Options{Region: "eu-west-1", BaseEndpoint: &c.URL, Credentials: key})
	must(inside.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}))(t)
	if _, err := inside.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{}); code(err) != "UnauthorizedOperation" {
		t.Errorf("what its policy does not allow: %v", err)
	}
	if _, err := inside.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-west-1a"), Size: aws.Int32(1), VolumeType: types.VolumeTypeGp3}); code(err) != "UnauthorizedOperation" {
		t.Errorf("what its policy does not allow: %v", err)
	}
	must(e.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{}))(t)
}
