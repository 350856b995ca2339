package state

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestTroubleWithABucket: each thing that can be wrong with a bucket has its own diagnostic, and says what mends it.
func TestTroubleWithABucket(t *testing.T) {
	var status int
	var code string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-amz-bucket-region", "eu-west-1")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>words</Message></Error>", code)
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_SESSION_TOKEN": "", "AWS_ENDPOINT_URL": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
		if value == "" {
			must(t, os.Unsetenv(name))
		}
	}
	there := "s3://team/p?region=us-east-1&path_style=true&endpoint=" + server.URL
	ids := map[string]bool{}
	for _, c := range []struct {
		status         int
		code, url, key string
		id, mend       string
	}{
		{404, "NoSuchBucket", there, "k", "state-no-bucket", "makes no buckets"},
		{403, "AccessDenied", there, "k", "state-denied", "that permission"},
		{403, "InvalidAccessKeyId", there, "k", "state-credentials", "were revoked"},
		{400, "ExpiredToken", there, "k", "state-expired", "Log in again"},
		{403, "RequestTimeTooSkewed", there, "k", "state-clock", "clock"},
		{301, "PermanentRedirect", there, "k", "state-region", "region=eu-west-1"},
		{404, "NoSuchBucket", there, "", "state-no-credentials", "AWS_ACCESS_KEY_ID"},
		{0, "", "s3://team/p", "k", "state-region", "AWS_REGION"},
		{0, "", "s3://team/p?region=us-east-1&endpoint=http://nobody.invalid", "k", "state-unreachable", "when the bucket answers"},
		{0, "", "s3://team/p?wrong=x", "k", "state-url", ""},
	} {
		status, code = c.status, c.code
		t.Setenv("AWS_ACCESS_KEY_ID", c.key)
		t.Setenv("AWS_SECRET_ACCESS_KEY", c.key)
		o := options(t)
		o.URL = c.url
		_, err := Open(t.Context(), o)
		var e interface {
			coded
			Advice() (string, []string)
		}
		if !errors.As(err, &e) && c.mend != "" {
			t.Errorf("%s %s: %v has no advice", c.url, c.code, err)
			continue
		}
		var named coded
		if !errors.As(err, &named) || named.DiagnosticID() != c.id {
			t.Errorf("%s %s: %v; want %s", c.url, c.code, err, c.id)
			continue
		}
		ids[c.id] = true
		if c.mend == "" {
			continue
		}
		if text, _ := e.Advice(); !strings.Contains(text, c.mend) {
			t.Errorf("%s %s: the advice is %q; want %q in it", c.url, c.code, text, c.mend)
		}
	}
	if len(ids) != 9 {
		t.Errorf("%d diagnostics: %v", len(ids), ids)
	}
}
