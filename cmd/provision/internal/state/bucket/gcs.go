package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// gcsStore is a store in Google Cloud Storage. It speaks the JSON API of version 1 by itself: five requests, where Google's own
// client brings gRPC and 25 MB along (see the ADR).
type gcsStore struct {
	client *http.Client
	tokens oauth2.TokenSource // nil for an emulator, which asks for none
	base   string
	bucket string
}

// openGCS makes a gcsStore of the environment, and tells whether the endpoint is Google's own.
func openGCS(ctx context.Context, l location) (store, bool, error) {
	endpoint := l.query.Get("endpoint")
	s := &gcsStore{
		client: &http.Client{Transport: newTransport()}, bucket: l.bucket,
		base: strings.TrimRight(cmp.Or(endpoint, "https://storage.googleapis.com"), "/"),
	}
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" && endpoint == "" {
		if !strings.Contains(emulator, "://") {
			emulator = "http://" + emulator
		}
		s.base = strings.TrimRight(emulator, "/")
		return s, false, nil
	}
	// Tokens are fetched again and again, long after this call; each time with a limit of its own.
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Timeout: 15 * time.Second})
	found, err := google.FindDefaultCredentials(ctx, "https://www.googleapis.com/auth/devstorage.read_write")
	if err != nil {
		return nil, false, &CredentialsError{URL: l.url, Hint: googleChain, Trouble: Missing, Err: err}
	}
	s.tokens = found.TokenSource
	return s, endpoint == "", nil
}

func (s *gcsStore) get(ctx context.Context, key string) (object, error) {
	answer, err := s.ask(ctx, http.MethodGet, s.object(key)+"?alt=media", "", nil)
	if err != nil {
		return object{}, s.missing(ctx, err)
	}
	return object{body: answer.body, revision: Revision(answer.header.Get("X-Goog-Generation"))}, nil
}

// gcsObject is an object's description.
type gcsObject struct {
	Name       string            `json:"name,omitempty"`
	Generation string            `json:"generation,omitempty"`
	MD5        []byte            `json:"md5Hash,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

func (s *gcsStore) stat(ctx context.Context, key string) (object, error) {
	var o gcsObject
	answer, err := s.ask(ctx, http.MethodGet, s.object(key), "", nil)
	if err == nil {
		err = answer.decode(&o)
	}
	if err != nil {
		return object{}, s.missing(ctx, err)
	}
	return object{revision: Revision(o.Generation), mark: mark{o.Metadata[markWrite], Revision(o.Metadata[markOver])}}, nil
}

func (s *gcsStore) put(ctx context.Context, key string, o object) (Revision, error) {
	condition, err := generation(o.mark.over)
	if err != nil {
		return "", err
	}
	sum := md5.Sum(o.body)
	described, err := json.Marshal(gcsObject{
		Name: key, MD5: sum[:], Metadata: map[string]string{markWrite: o.mark.write, markOver: string(o.mark.over)},
	})
	if err != nil {
		return "", &failure{kind: refused, err: err}
	}
	var b bytes.Buffer
	parts := multipart.NewWriter(&b)
	for _, part := range []struct {
		kind string
		body []byte
	}{{"application/json; charset=UTF-8", described}, {"application/octet-stream", o.body}} {
		w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {part.kind}})
		if err == nil {
			_, err = w.Write(part.body)
		}
		if err != nil {
			return "", &failure{kind: refused, err: err}
		}
	}
	if err := parts.Close(); err != nil {
		return "", &failure{kind: refused, err: err}
	}
	path := "/upload/storage/v1/b/" + url.PathEscape(s.bucket) + "/o?uploadType=multipart&ifGenerationMatch=" + condition
	answer, err := s.ask(ctx, http.MethodPost, path, "multipart/related; boundary="+parts.Boundary(), b.Bytes())
	var made gcsObject
	if err == nil {
		err = answer.decode(&made)
	}
	if err != nil {
		return "", s.missing(ctx, err)
	}
	return Revision(made.Generation), nil
}

func (s *gcsStore) remove(ctx context.Context, key string, was Revision) error {
	condition, err := generation(was)
	if err == nil {
		_, err = s.ask(ctx, http.MethodDelete, s.object(key)+"?ifGenerationMatch="+condition, "", nil)
	}
	if err != nil {
		return s.missing(ctx, err)
	}
	return nil
}

func (s *gcsStore) list(ctx context.Context, prefix, page string) (keys []string, next string, err error) {
	q := url.Values{"prefix": {prefix}, "maxResults": {"1000"}, "fields": {"items(name),nextPageToken"}}
	if page != "" {
		q.Set("pageToken", page)
	}
	var found struct {
		Items []gcsObject `json:"items"`
		Next  string      `json:"nextPageToken"`
	}
	answer, err := s.ask(ctx, http.MethodGet, "/storage/v1/b/"+url.PathEscape(s.bucket)+"/o?"+q.Encode(), "", nil)
	if err == nil {
		err = answer.decode(&found)
	}
	if err != nil {
		if f, ok := errors.AsType[*failure](err); ok && f.kind == noObject {
			f.kind = noBucket
		}
		return nil, "", err
	}
	for _, o := range found.Items {
		keys = append(keys, o.Name)
	}
	return keys, found.Next, nil
}

// missing finds out what is missing where Google says only that something is: the object, or the whole bucket.
func (s *gcsStore) missing(ctx context.Context, err error) error {
	if kindOf(err) != noObject {
		return err
	}
	if _, _, whole := s.list(ctx, "/", ""); whole != nil {
		return whole
	}
	return err
}

// googleChain tells where credentials are looked for.
const googleChain = "Google credentials are taken from the file that GOOGLE_APPLICATION_CREDENTIALS names, from `gcloud auth application-default login`, or from the machine's service account."

func (s *gcsStore) permission(op string) string {
	switch op {
	case "get":
		return "storage.objects.get and storage.objects.list"
	case "put":
		return "storage.objects.create, storage.objects.delete and storage.objects.get"
	case "delete":
		return "storage.objects.delete"
	case "list":
		return "storage.objects.list"
	}
	return googleChain
}

func (s *gcsStore) close() { s.client.CloseIdleConnections() }

// object is the path of an object's description.
func (s *gcsStore) object(key string) string {
	return "/storage/v1/b/" + url.PathEscape(s.bucket) + "/o/" + url.PathEscape(key)
}

// generation is the condition that an object is at the revision.
func generation(was Revision) (string, error) {
	if was == "" {
		return "0", nil
	}
	if n, err := strconv.ParseInt(string(was), 10, 64); err != nil || n <= 0 {
		return "", &failure{kind: changed, err: fmt.Errorf("%q is no generation of an object", was)}
	}
	return string(was), nil
}

// gcsAnswer is a whole answer.
type gcsAnswer struct {
	header http.Header
	body   []byte
}

// decode reads JSON. An answer that is cut short is one that was lost.
func (a gcsAnswer) decode(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return &failure{kind: busy, err: fmt.Errorf("the answer cannot be read: %w", err)}
	}
	return nil
}

// ask makes one request and reads the answer whole. path is escaped.
func (s *gcsStore) ask(ctx context.Context, method, path, kind string, body []byte) (gcsAnswer, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return gcsAnswer{}, &failure{kind: refused, err: err}
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if s.tokens != nil {
		token, err := s.tokens.Token()
		if err != nil {
			return gcsAnswer{}, &failure{kind: stranger, trouble: troubleOf(err), err: err}
		}
		token.SetAuthHeader(r)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return gcsAnswer{}, unanswered(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return gcsAnswer{}, unanswered(err)
	}
	if answer.StatusCode/100 != 2 {
		return gcsAnswer{}, gcsFailure(answer, b)
	}
	return gcsAnswer{answer.Header, b}, nil
}

// gcsFailure reads an answer that says no: first Google's own reason, then the status.
func gcsFailure(answer *http.Response, body []byte) *failure {
	var said struct {
		Error struct {
			Message string
			Errors  []struct{ Reason string }
		}
	}
	words := strings.TrimSpace(string(body[:min(len(body), 200)]))
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		words = said.Error.Message
	}
	f := answered(answer.StatusCode, answer.Header, fmt.Errorf("%s: %s", answer.Status, words))
	for _, e := range said.Error.Errors {
		if e.Reason == "rateLimitExceeded" || e.Reason == "userRateLimitExceeded" {
			f.kind, f.after = unheard, retryAfter(answer.Header, time.Now())
		}
	}
	return f
}
