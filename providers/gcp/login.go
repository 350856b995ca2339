package gcp

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/provisionhq/provision/providers"
)

// keyVariable is where Google's own tools look for the name of a file with credentials.
const keyVariable = "GOOGLE_APPLICATION_CREDENTIALS"

// credentials are those that Google's own chain finds. A file that cannot be anybody's is refused at once, by its name: the chain
// would say so only when a token is asked for, and not which file it read.
func credentials(ctx context.Context) (*google.Credentials, error) {
	from := "gcloud's application default credentials"
	if file := os.Getenv(keyVariable); file != "" {
		from = file + " (" + keyVariable + ")"
	}
	found, err := google.FindDefaultCredentials(ctx, scopes()...)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax), err != nil && os.Getenv(keyVariable) != "" && readable(os.Getenv(keyVariable)):
		return nil, fail(providers.Denied, "%s is not a file with credentials: %w", from, err)
	case err != nil:
		return nil, fail(providers.Denied, "no credentials: run gcloud auth application-default login, or name a file in %s: %w", keyVariable, err)
	}
	if err := incomplete(found.JSON); err != nil {
		return nil, fail(providers.Denied, "%s is not a file with credentials that are whole: %w", from, err)
	}
	found.TokenSource = login{found.TokenSource, from}
	return found, nil
}

// readable says whether there is something in a file.
func readable(name string) bool {
	_, err := os.ReadFile(name)
	return err == nil
}

// incomplete says what credentials lack that those of their type need. Those of the metadata server are no text.
func incomplete(text []byte) error {
	var f map[string]any
	if len(text) == 0 || json.Unmarshal(text, &f) != nil {
		return nil // which the chain has read otherwise
	}
	needs := map[any][]string{
		"service_account": {"client_email", "private_key"},
		"authorized_user": {"client_id", "client_secret", "refresh_token"},
	}
	for _, name := range needs[f["type"]] {
		if s, ok := f[name].(string); !ok || s == "" {
			return fmt.Errorf("it has no %s", name)
		}
	}
	if f["type"] == "service_account" {
		return unusable(f["private_key"].(string))
	}
	return nil
}

// unusable says what is wrong with a private key.
func unusable(key string) error {
	block, _ := pem.Decode([]byte(key))
	if block == nil {
		return errors.New("its private_key is not in PEM")
	}
	_, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		_, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if err != nil {
		return fmt.Errorf("its private_key cannot be read: %w", err)
	}
	return nil
}

// A login gets tokens, and says why it gets none.
type login struct {
	oauth2.TokenSource
	from string
}

// Token returns a token, or a stranger.
func (l login) Token() (*oauth2.Token, error) {
	t, err := l.TokenSource.Token()
	if err == nil {
		return t, nil
	}
	s := &stranger{Kind: providers.Denied, text: fmt.Sprintf("no token for the credentials of %s: %v", l.from, err)}
	if passing(err) {
		s.Kind = providers.Unavailable
	}
	return nil, s
}

// A stranger is that Google gives no token: for good, unless it could not be asked. It hides what it is made of, which the client
// would put in its place.
type stranger struct {
	providers.Kind
	text string
}

// Error says why.
func (s *stranger) Error() string { return string(s.Kind) + ": " + s.text }

// Unwrap returns the Kind.
func (s *stranger) Unwrap() error { return s.Kind }

// passing says whether the answer may be another one a moment later. Google's library tells of some failures of the network in text alone.
func passing(err error) bool {
	var answer *oauth2.RetrieveError
	var network net.Error
	switch {
	case errors.As(err, &answer) && answer.Response != nil:
		code := answer.Response.StatusCode
		return code >= http.StatusInternalServerError || code == http.StatusTooManyRequests
	case errors.As(err, &network):
		return true
	}
	text := err.Error()
	for _, words := range []string{"dial tcp", "connection re", "timeout", "EOF", "lookup "} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// requestOf is Google's ID of a request that was refused: in the answer's details or, of some services, a header; "" if it gave none.
func requestOf(details []any, header http.Header) string {
	for _, d := range details {
		if m, ok := d.(map[string]any); ok {
			if id, ok := m["requestId"].(string); ok && id != "" {
				return id
			}
		}
	}
	return cmp.Or(header.Get("X-Goog-Request-Id"), header.Get("X-Guploader-Uploadid"))
}
