package welcome

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Ask returns Groups of an API server: it is asked in the bearer's own name who he is, which needs no right of ours to read
// tokens. caFile holds the authority that the server must be of.
func Ask(server, caFile string) (Groups, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
	}}
	return func(ctx context.Context, token string) ([]string, error) { return ask(ctx, c, server, token) }, nil
}

func ask(ctx context.Context, c *http.Client, server, token string) ([]string, error) {
	const body = `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/apis/authentication.k8s.io/v1/selfsubjectreviews", bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return nil, ErrStranger
	case res.StatusCode >= 300:
		return nil, fmt.Errorf("API answers %d", res.StatusCode)
	}
	var review struct {
		Status struct {
			UserInfo struct {
				Groups []string `json:"groups"`
			} `json:"userInfo"`
		} `json:"status"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&review)
	return review.Status.UserInfo.Groups, err
}
