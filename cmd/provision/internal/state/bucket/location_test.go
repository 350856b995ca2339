package bucket

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for url, want := range map[string]location{
		"mem://":                        {scheme: "mem"},
		"s3://b":                        {scheme: "s3", bucket: "b"},
		"s3://b/":                       {scheme: "s3", bucket: "b"},
		"gs://my.bucket_1/a/b/":         {scheme: "gs", bucket: "my.bucket_1", prefix: "a/b/"},
		"azblob://c/team%20a/%C3%BC%2B": {scheme: "azblob", bucket: "c", prefix: "team a/ü+/"},
		"s3://b/p?region=eu-west-1&path_style=true&endpoint=https://minio.example:9000": {scheme: "s3", bucket: "b", prefix: "p/"},
	} {
		got, err := parse(url)
		if err != nil || got.scheme != want.scheme || got.bucket != want.bucket || got.prefix != want.prefix {
			t.Errorf("parse(%s) = %+v, %v; want %+v", url, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"":                                     `"://" is no kind of bucket`,
		"b/p":                                  "no kind of bucket",
		"file:///tmp":                          "no kind of bucket",
		"s3://":                                "a bucket's name follows",
		"s3://b:443/p":                         "a bucket's name follows",
		"s3://b/p#f":                           "%23",
		"s3://b/p#":                            "%23",
		"s3://b/a//b":                          "not fit for a key",
		"s3://b/a/../b":                        "not fit for a key",
		"s3://b/a%00b":                         "not fit for a key",
		"s3://b/" + strings.Repeat("a", 257):   "longer than 256",
		"s3://b?regoin=x":                      `"regoin" is no parameter of s3://; there are: region`,
		"gs://b?region=x":                      `no parameter of gs://`,
		"s3://b?region=":                       "needs one value",
		"s3://b?region=a&region=b":             "needs one value",
		"s3://b?endpoint=minio:9000":           "https://HOST",
		"s3://b?endpoint=ftp://minio":          "https://HOST",
		"mem://x":                              "mem:// has no name",
		"s3://b?a=%zz":                         "cannot be read",
		"s3://b/%zz":                           "cannot be read",
		"s3://CANARY:CANARY@b/p":               "a user or a password",
		"s3://CANARY@b/p":                      "a user or a password",
		"s3://b?secret_key=CANARY":             `"secret_key"`,
		"azblob://c?sig=CANARY":                `"sig"`,
		"azblob://c?sas_token=CANARY":          `"sas_token"`,
		"s3://b?endpoint=https://CANARY@h":     "an endpoint with",
		"s3://b?endpoint=https://h?k%3DCANARY": "an endpoint with",
	} {
		_, err := parse(url)
		if e, ok := errors.AsType[*URLError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("parse(%q): %v (%T), want a URLError with %q", url, err, e, want)
		}
		if err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Errorf("parse(%q) repeats the secret: %v", url, err)
		}
	}
}

func TestCheckKey(t *testing.T) {
	for key, want := range map[string]bool{
		"a": true, "a/b.c-d_E0": true, "...": true, "": false, "/": false, "a/": false, ".": false, "a/../b": false, "a b": false,
		"é": false, strings.Repeat("a", 512): true, strings.Repeat("a", 513): false,
	} {
		if got := checkKey(key) == nil; got != want {
			t.Errorf("checkKey(%.20q) = %v, want %v", key, got, want)
		}
	}
}
