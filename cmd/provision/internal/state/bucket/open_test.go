package bucket_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// lonely makes the environment one without any credentials, where nobody is asked but what listens on loopback.
func lonely(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AZURE_STORAGE_ACCOUNT": "", "AZURE_STORAGE_KEY": "", "AZURE_STORAGE_SAS_TOKEN": "",
		"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential", "AZURE_CLIENT_ID": "", "AZURE_TENANT_ID": "", "AZURE_CLIENT_SECRET": "",
		"STORAGE_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": "", "GCE_METADATA_HOST": "127.0.0.1:1", "HOME": t.TempDir(),
	} {
		t.Setenv(name, value)
		if value == "" {
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// open opens a bucket with little patience.
func open(t *testing.T, url string) error {
	t.Helper()
	b, err := bucket.Opener{Attempt: 5 * time.Second, Patience: 3 * time.Second}.Open(t.Context(), url)
	if err == nil {
		err = b.Close()
	}
	return err
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	var status int
	var header map[string]string
	var body string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer s.Close()
	lonely(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	t.Setenv("AZURE_STORAGE_KEY", "aaaa")
	t.Setenv("STORAGE_EMULATOR_HOST", s.URL)
	urls := map[string]string{
		"s3": "s3://b/p?region=us-east-1&path_style=true&endpoint=" + s.URL, "gs": "gs://b/p", "azblob": "azblob://c/p?account=a&endpoint=" + s.URL,
	}
	xml := func(code string) string { return "<Error><Code>" + code + "</Code><Message>words</Message></Error>" }
	azure := func(code string) map[string]string { return map[string]string{"x-ms-error-code": code} }
	region := map[string]string{"x-amz-bucket-region": "eu-west-1"}
	missing, denied, stranger, elsewhere, dead := new(*bucket.MissingError), new(*bucket.DeniedError), new(*bucket.CredentialsError), new(*bucket.RegionError), new(*bucket.UnreachableError)
	for _, c := range []struct {
		scheme string
		status int
		header map[string]string
		body   string
		want   any
		words  string
	}{
		{"s3", 404, nil, xml("NoSuchBucket"), missing, "there is no bucket s3://b/p"},
		{"s3", 403, nil, xml("AccessDenied"), denied, "list (s3:ListBucket on the bucket)"},
		{"s3", 403, nil, xml("InvalidAccessKeyId"), stranger, "InvalidAccessKeyId"},
		{"s3", 403, nil, xml("SignatureDoesNotMatch"), stranger, "SignatureDoesNotMatch"},
		{"s3", 403, nil, xml("RequestTimeTooSkewed"), stranger, "RequestTimeTooSkewed"},
		{"s3", 400, nil, xml("ExpiredToken"), stranger, "ExpiredToken"},
		{"s3", 301, region, xml("PermanentRedirect"), elsewhere, "is in the region eu-west-1"},
		{"s3", 400, region, xml("AuthorizationHeaderMalformed"), elsewhere, "is in the region eu-west-1"},
		{"s3", 301, nil, xml("PermanentRedirect"), elsewhere, "is in another region"},
		{"s3", 503, nil, xml("SlowDown"), dead, "does not answer"},
		{"s3", 500, nil, "<html>", dead, "does not answer"},
		{"s3", 200, nil, "<html>", dead, "does not answer"},
		{"gs", 404, nil, `{"error":{"message":"The specified bucket does not exist."}}`, missing, "does not exist"},
		{"gs", 403, nil, `{"error":{"message":"a@b does not have access"}}`, denied, "list (storage.objects.list)"},
		{"gs", 401, nil, `{"error":{"message":"Invalid Credentials"}}`, stranger, "Invalid Credentials"},
		{"gs", 403, nil, `{"error":{"message":"slow","errors":[{"reason":"rateLimitExceeded"}]}}`, dead, "slow"},
		{"gs", 200, nil, "<html>", dead, "cannot be read"},
		{"azblob", 404, azure("ContainerNotFound"), "", missing, "ContainerNotFound"},
		{"azblob", 409, azure("ContainerBeingDeleted"), "", missing, "ContainerBeingDeleted"},
		{"azblob", 403, azure("AuthorizationPermissionMismatch"), "", denied, "Storage Blob Data Contributor"},
		{"azblob", 403, azure("AuthorizationFailure"), "", denied, "firewall"},
		{"azblob", 403, azure("AuthenticationFailed"), "", stranger, "AuthenticationFailed"},
		{"azblob", 503, azure("ServerBusy"), "", dead, "ServerBusy"},
	} {
		status, header, body = c.status, c.header, c.body
		began := time.Now()
		err := open(t, urls[c.scheme])
		if !errors.As(err, c.want) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %d %v %s: %v (%T), want a %T with %q", c.scheme, c.status, c.header, c.body, err, err, c.want, c.words)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: %d %s: it took %v to tell", c.scheme, c.status, c.body, took)
		}
	}
}

func TestOpenWithoutCredentials(t *testing.T) {
	lonely(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	for _, url := range []string{
		"s3://b?region=us-east-1&endpoint=" + secure.URL, "s3://b?region=us-east-1&profile=nobody&endpoint=" + secure.URL,
		"gs://b?endpoint=" + secure.URL, "azblob://c?account=a&endpoint=" + secure.URL,
	} {
		err := open(t, url)
		if e, ok := errors.AsType[*bucket.CredentialsError](err); !ok || e.Hint == "" || e.Trouble != bucket.Missing {
			t.Errorf("Open(%s): %v, want a CredentialsError that tells where credentials are looked for", url, err)
		}
	}
	// A metadata service that answers, and has no role to give, is not the store.
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer metadata.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	if e, ok := errors.AsType[*bucket.CredentialsError](open(t, "s3://b?region=us-east-1&endpoint="+secure.URL)); !ok || e.Trouble != bucket.Missing {
		t.Errorf("with a metadata service that says 403: %v, want that there are no credentials", e)
	}
	var elsewhere *bucket.RegionError
	if err := open(t, "s3://b"); !errors.As(err, &elsewhere) || !elsewhere.Unset || strings.Contains(err.Error(), "another region") || !strings.Contains(err.Error(), "?region=") {
		t.Errorf("Open of an S3 bucket with no region: %v", err)
	}
	var bad *bucket.URLError
	for _, url := range []string{"azblob://c", "azblob://c?account=A_b", "s3://b?path_style=maybe"} {
		if err := open(t, url); !errors.As(err, &bad) {
			t.Errorf("Open(%s): %v, want a URLError", url, err)
		}
	}
	t.Setenv("AZURE_STORAGE_KEY", "%CANARY%")
	if err := open(t, "azblob://c?account=a"); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("Open with a key that is none: %v; it must be refused and not repeated", err)
	}
}

func TestOpenOfAnotherServer(t *testing.T) {
	lonely(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for endpoint, words := range map[string]string{secure.URL: "certificate", closed: "refused"} {
		err := open(t, "s3://b?region=us-east-1&path_style=true&endpoint="+endpoint)
		var dead *bucket.UnreachableError
		if !errors.As(err, &dead) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "RequestID") {
			t.Errorf("Open at %s: %v, want an UnreachableError with %q", endpoint, err, words)
		}
	}
}

// TestGoogleServiceAccount has a service account's key exchanged for a token, and the token sent.
func TestGoogleServiceAccount(t *testing.T) {
	lonely(t)
	revoked := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/token" && revoked:
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":"invalid_grant","error_description":"account was deleted"}`)
		case r.URL.Path == "/token":
			fmt.Fprint(w, `{"access_token":"token-1","token_type":"Bearer","expires_in":3600}`)
		case r.Header.Get("Authorization") != "Bearer token-1":
			w.WriteHeader(401)
		default:
			fmt.Fprint(w, `{}`)
		}
	}))
	defer s.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@b", "private_key_id": "1", "token_uri": s.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(path, account, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	if err := open(t, "gs://b?endpoint="+s.URL); err != nil {
		t.Errorf("Open with a service account: %v", err)
	}
	revoked = true
	var refused *bucket.CredentialsError
	if err := open(t, "gs://b?endpoint="+s.URL); !errors.As(err, &refused) || refused.Trouble != bucket.Expired || !strings.Contains(err.Error(), "account was deleted") {
		t.Errorf("Open with a service account that is gone: %v, want a CredentialsError", err)
	}
}
