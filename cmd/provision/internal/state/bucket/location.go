package bucket

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A location is a bucket's URL, taken apart.
type location struct {
	url    string // as given
	scheme string
	bucket string
	prefix string // ends with '/' unless empty
	query  url.Values
}

// parse takes a bucket's URL apart and refuses whatever it does not understand: a parameter that is silently ignored may have
// been the one that keeps two clusters apart.
func parse(s string) (location, error) {
	u, err := url.Parse(s)
	if err != nil {
		return location{}, &URLError{Why: "it cannot be read; the part that looks wrong may be secret and is not shown"}
	}
	l := location{url: s, scheme: u.Scheme, bucket: u.Host}
	if l.query, err = url.ParseQuery(u.RawQuery); err != nil {
		return location{}, &URLError{Why: "what follows the question mark cannot be read"}
	}
	if err := l.checkSecrets(u); err != nil {
		return location{}, err
	}
	bad := func(why string, args ...any) (location, error) {
		return location{}, &URLError{URL: s, Why: fmt.Sprintf(why, args...)}
	}
	known, ok := parameters(u.Scheme)
	switch {
	case !ok:
		return bad("%q is no kind of bucket; there are s3://, gs:// and azblob://", u.Scheme+"://")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return bad("it has a # in it; write %%23")
	case u.Scheme == "mem" && s != "mem://":
		return bad("mem:// has no name and no parameters")
	case u.Scheme != "mem" && (u.Host == "" || u.Port() != ""):
		return bad("a bucket's name follows %s://", u.Scheme)
	}
	for name, values := range l.query {
		if !slices.Contains(known, name) {
			return bad("%q is no parameter of %s://; there are: %s", name, u.Scheme, strings.Join(known, ", "))
		}
		if len(values) != 1 || values[0] == "" {
			return bad("the parameter %s needs one value", name)
		}
	}
	if l.prefix = strings.Trim(u.Path, "/"); l.prefix == "" {
		return l, l.checkEndpoint()
	}
	for part := range strings.SplitSeq(l.prefix, "/") {
		if part == "" || part == "." || part == ".." || !utf8.ValidString(part) || strings.ContainsFunc(part, unicode.IsControl) {
			return bad("the part %q of its path is not fit for a key", part)
		}
	}
	if len(l.prefix) > 256 {
		return bad("its path is longer than 256 bytes")
	}
	l.prefix += "/"
	return l, l.checkEndpoint()
}

// parameters are those that URLs of a scheme may have.
func parameters(scheme string) ([]string, bool) {
	switch scheme {
	case "s3":
		return []string{"region", "profile", "endpoint", "path_style"}, true
	case "gs":
		return []string{"endpoint"}, true
	case "azblob":
		return []string{"account", "endpoint"}, true
	case "mem":
		return nil, true
	}
	return nil, false
}

// checkSecrets refuses a URL with a password or key in it, without repeating it.
func (l location) checkSecrets(u *url.URL) error {
	const why = "it holds %s. A URL is shown, logged and kept with the cluster's file: give credentials by the vendor's own means (environment, its files, the machine's identity), and make this one invalid if it was real"
	if u.User != nil {
		return &URLError{Why: fmt.Sprintf(why, "a user or a password")}
	}
	for name := range l.query {
		for _, secret := range []string{"key", "secret", "token", "password", "sig", "sas", "credential"} {
			if strings.Contains(strings.ToLower(name), secret) {
				return &URLError{Why: fmt.Sprintf(why, fmt.Sprintf("the parameter %q", name))}
			}
		}
	}
	if e, err := url.Parse(l.query.Get("endpoint")); err == nil && (e.User != nil || e.RawQuery != "") {
		return &URLError{Why: fmt.Sprintf(why, "an endpoint with a user, a password or a query")}
	}
	return nil
}

// checkEndpoint refuses an endpoint that cannot be asked.
func (l location) checkEndpoint() error {
	s := l.query.Get("endpoint")
	if s == "" {
		return nil
	}
	e, err := url.Parse(s)
	if err != nil || e.Scheme != "https" && e.Scheme != "http" || e.Host == "" {
		return &URLError{URL: l.url, Why: "the endpoint must be written as https://HOST or http://HOST"}
	}
	return nil
}
