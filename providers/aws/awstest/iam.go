package awstest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Whoever moto lets do things once it enforces policies.
const (
	operator = "operator"
	admin    = "awstest"
)

// Enforce makes the cloud allow only what the policy document allows, to a user whose access key it returns. It knows nobody
// else then. Reset lets everybody do everything again.
func (c *Cloud) Enforce(ctx context.Context, policy string) (key aws.Credentials, err error) {
	if _, err := c.user(ctx, admin, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`); err != nil {
		return key, err
	}
	if key, err = c.user(ctx, operator, policy); err != nil {
		return key, err
	}
	return key, c.enforcing("0")
}

// Allow gives the user another policy.
func (c *Cloud) Allow(ctx context.Context, policy string) error {
	wide, err := c.policy(operator, policy)
	if err == nil {
		_, err = c.manage(ctx, url.Values{"Action": {"PutUserPolicy"}, "UserName": {operator}, "PolicyName": {"all"}, "PolicyDocument": {wide}})
	}
	return err
}

// policy notes what a user may do, and returns the document as moto understands it.
func (c *Cloud) policy(user, text string) (wide string, err error) {
	var d document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if user != admin {
		c.policies[user] = d
	}
	return d.widened(), nil
}

// As makes another user, who may do what the policy document allows. Enforce comes first.
func (c *Cloud) As(ctx context.Context, name, policy string) (aws.Credentials, error) {
	return c.user(ctx, name, policy)
}

// enforcing says after how many requests policies count.
func (c *Cloud) enforcing(after string) error {
	resp, err := c.client.Post(c.moto+"/moto-api/reset-auth", "text/plain", strings.NewReader(after))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("moto-api/reset-auth: %s", resp.Status)
	}
	return nil
}

// user makes a user with a policy and an access key, which the proxy signs what it passes on with.
func (c *Cloud) user(ctx context.Context, name, policy string) (key aws.Credentials, err error) {
	var t *tree
	if policy, err = c.policy(name, policy); err != nil {
		return key, err
	}
	for _, form := range []url.Values{
		{"Action": {"CreateUser"}, "UserName": {name}},
		{"Action": {"PutUserPolicy"}, "UserName": {name}, "PolicyName": {"all"}, "PolicyDocument": {policy}},
		{"Action": {"CreateAccessKey"}, "UserName": {name}},
	} {
		if t, err = c.manage(ctx, form); err != nil {
			return key, err
		}
	}
	key = aws.Credentials{AccessKeyID: t.get("CreateAccessKeyResult", "AccessKey", "AccessKeyId"), SecretAccessKey: t.get("CreateAccessKeyResult", "AccessKey", "SecretAccessKey")}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[key.AccessKeyID], c.users[key.AccessKeyID] = key, name
	if name == admin {
		c.admin = key.AccessKeyID
	}
	return key, nil
}

// manage asks moto's IAM, as the one who may do everything.
func (c *Cloud) manage(ctx context.Context, form url.Values) (*tree, error) {
	form.Set("Version", "2010-05-08")
	return c.sudo(ctx, "iam", form)
}

// sudo asks a service of moto, as the one who may do everything.
func (c *Cloud) sudo(ctx context.Context, service string, form url.Values) (*tree, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", c.authority("us-east-1/"+service))
	a := c.forward(req, []byte(form.Encode()))
	if a.code != "" {
		return nil, fmt.Errorf("%s: %s: %s", form.Get("Action"), a.code, a.body)
	}
	return parse(a.body)
}

// authority is the header of a request of the one who may do everything, without a signature.
func (c *Cloud) authority(scope string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "AWS4-HMAC-SHA256 Credential=" + cmp.Or(c.admin, "AKIATEST") + "/20261123/" + scope + "/aws4_request, SignedHeaders=host, Signature=none"
}

// sign makes the signature of a request fit what the proxy made of it, if it knows the key; else moto refuses it, if it enforces.
func (c *Cloud) sign(out *http.Request, body []byte) error {
	scope := strings.Split(credential(out.Header.Get("Authorization")), "/")
	c.mu.Lock()
	key, ok := c.secrets[scope[0]]
	c.mu.Unlock()
	if !ok || len(scope) < 4 {
		return nil
	}
	out.Header.Del("Authorization")
	sum := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(out.Context(), key, out, hex.EncodeToString(sum[:]), scope[3], scope[2], time.Now())
}

// worded makes a refusal of moto's the service's own.
func (c *Cloud) worded(r *Request, a answer) answer {
	if a.code != "AccessDenied" {
		return a
	}
	_, words, _ := strings.Cut(string(a.body), "<Message>")
	words, _, _ = strings.Cut(words, "</Message>")
	if r.Service == "ec2" {
		return c.refusal(r, http.StatusForbidden, "UnauthorizedOperation", "You are not authorized to perform this operation. "+words)
	}
	return c.refusal(r, http.StatusForbidden, "AccessDenied", words)
}

// dry says whether the request only asks whether it would be allowed.
func (r *Request) dry() bool { return r.Form.Get("DryRun") == "true" }

// tried answers a dry run: moto, which would do some of them, gets it in a form that it can only refuse.
func (c *Cloud) tried(req *http.Request, r *Request) answer {
	form := url.Values{}
	for k, v := range r.Form {
		form[k] = v
	}
	for k, v := range map[string]string{"CidrBlock": "none", "ImageId": "ami-00000000000000000", "AvailabilityZone": "none"} {
		if form.Has(k) {
			form.Set(k, v)
		}
	}
	a := c.worded(r, c.forward(req, []byte(form.Encode())))
	switch {
	case a.code == "UnauthorizedOperation" || a.code == "AuthFailure":
		return a
	case a.code == "" && !reads(r.Action):
		return c.refusal(r, http.StatusInternalServerError, "InternalError", "awstest: moto has done what was a dry run: "+r.Action)
	}
	return c.refusal(r, http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
}

// nobodys is in the names of roles and profiles that there are not.
const nobodys = "-none-00000000"

// reserved refuses tags that only AWS may give.
func reserved(r *Request) (answer, bool) {
	for key := range r.requestTags("") {
		if r.Service == "iam" && strings.HasPrefix(key, "aws:RequestTag/aws:") {
			body := "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidInput</Code><Message>Tag keys with the prefix aws: are reserved</Message></Error></ErrorResponse>"
			return answer{status: http.StatusBadRequest, code: "InvalidInput", body: []byte(body)}, true
		}
	}
	return answer{}, false
}
