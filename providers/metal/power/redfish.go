package power

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// A redfishController speaks with a BMC by DMTF's Redfish: one resource, the system, and its actions.
type redfishController struct {
	b      BMC
	base   *url.URL
	client *http.Client
	system system
}

// A system is what is used of Redfish's ComputerSystem.
type system struct {
	ID         string `json:"@odata.id"`
	PowerState string
	Boot       struct {
		Targets []string `json:"BootSourceOverrideTarget@Redfish.AllowableValues"`
	}
	Actions struct {
		Reset struct {
			Target string   `json:"target"`
			Types  []string `json:"ResetType@Redfish.AllowableValues"`
		} `json:"#ComputerSystem.Reset"`
	}
}

func openRedfish(ctx context.Context, b BMC) (Controller, error) {
	base, err := redfishURL(b.Address)
	if err != nil {
		return nil, fmt.Errorf("BMC %s: %w: %w", b.Address, ErrUnreachable, err)
	}
	trust := &tls.Config{InsecureSkipVerify: b.Insecure} // only if the file says insecure
	if b.CA != "" {
		pem, err := os.ReadFile(b.CA)
		if err != nil {
			return nil, fmt.Errorf("BMC %s: %w: %w", b.Address, ErrDenied, err)
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("BMC %s: %w: %s holds no certificate", b.Address, ErrDenied, b.CA)
		}
	}
	r := &redfishController{b: b, base: base, client: &http.Client{
		Timeout:   15 * time.Second,
		Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true},
		// The password must not follow to wherever a BMC points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	path := b.System
	if path == "" {
		if path, err = r.onlySystem(ctx); err != nil {
			return nil, err
		}
	}
	return r, r.call(ctx, http.MethodGet, path, nil, &r.system)
}

func redfishURL(address string) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err == nil && u.Host == "" {
		err = errors.New("the URL has no host")
	}
	return u, err
}

// onlySystem returns the path of the system that the BMC is for.
func (r *redfishController) onlySystem(ctx context.Context) (string, error) {
	var all struct {
		Members []struct {
			ID string `json:"@odata.id"`
		}
	}
	if err := r.call(ctx, http.MethodGet, "/redfish/v1/Systems", nil, &all); err != nil {
		return "", err
	}
	if n := len(all.Members); n != 1 {
		return "", fmt.Errorf("BMC %s: %w: it is for %d systems: say which with system = \"/redfish/v1/Systems/…\"", r.b.Address, ErrRefused, n)
	}
	return all.Members[0].ID, nil
}

// State reads the system's PowerState. A state between two is the one that it comes from.
func (r *redfishController) State(ctx context.Context) (State, error) {
	if err := r.call(ctx, http.MethodGet, r.system.ID, nil, &r.system); err != nil {
		return "", err
	}
	switch r.system.PowerState {
	case "On", "PoweringOff", "Paused":
		return On, nil
	case "Off", "PoweringOn":
		return Off, nil
	}
	return "", fmt.Errorf("BMC %s: %w: its system's power state is %q", r.b.Address, ErrRefused, r.system.PowerState)
}

// Do posts the system's Reset action.
func (r *redfishController) Do(ctx context.Context, a Action) error {
	// In the order of preference: not every BMC knows them all.
	types := map[Action][]string{
		TurnOn: {"On", "ForceOn"}, TurnOff: {"ForceOff"}, Cycle: {"PowerCycle", "ForceRestart"},
	}[a]
	allowed := r.system.Actions.Reset.Types
	if len(allowed) > 0 {
		types = slices.DeleteFunc(types, func(t string) bool { return !slices.Contains(allowed, t) })
	}
	if len(types) == 0 {
		return fmt.Errorf("BMC %s: %w: it knows no way to turn the power %s, only %v", r.b.Address, ErrRefused, a, allowed)
	}
	target := r.system.Actions.Reset.Target
	if target == "" {
		target = strings.TrimSuffix(r.system.ID, "/") + "/Actions/ComputerSystem.Reset"
	}
	return r.call(ctx, http.MethodPost, target, map[string]any{"ResetType": types[0]}, nil)
}

// NextBoot overrides the boot source once.
func (r *redfishController) NextBoot(ctx context.Context, d Device) error {
	source := "Pxe"
	if d == Disk {
		source = "Hdd"
	}
	if t := r.system.Boot.Targets; len(t) > 0 && !slices.Contains(t, source) {
		return fmt.Errorf("BMC %s: %w: it cannot boot from %s, only from %v", r.b.Address, ErrRefused, source, t)
	}
	boot := map[string]any{"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": source}
	return r.call(ctx, http.MethodPatch, r.system.ID, map[string]any{"Boot": boot}, nil)
}

// Close does nothing: there is no session.
func (r *redfishController) Close() error { return nil }

// call makes one request and reads the answer into out, if that is not nil.
func (r *redfishController) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	at, err := r.base.Parse(path)
	if err != nil || at.Host != r.base.Host || at.Scheme != r.base.Scheme {
		return fmt.Errorf("BMC %s: %w: it names a resource that is not its own: %q", r.b.Address, ErrRefused, path)
	}
	q, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("BMC %s: %w: %w", r.b.Address, ErrUnreachable, err)
	}
	if method == http.MethodGet {
		q.Body, q.ContentLength = http.NoBody, 0
	} else {
		q.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPatch {
		q.Header.Set("If-Match", "*")
	}
	q.Header.Set("Accept", "application/json")
	q.SetBasicAuth(r.b.User, r.b.Password)
	a, err := r.client.Do(q)
	if err != nil {
		return r.failed(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err != nil {
		return r.failed(err)
	}
	return r.answer(a, text, out)
}

func (r *redfishController) failed(err error) error {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return fmt.Errorf("BMC %s: %w: its certificate is not trusted (name its authority with ca, or write insecure = true): %w", r.b.Address, ErrDenied, err)
	}
	return fmt.Errorf("BMC %s: %w: %w", r.b.Address, ErrUnreachable, err)
}

func (r *redfishController) answer(a *http.Response, text []byte, out any) error {
	switch {
	case a.StatusCode == http.StatusUnauthorized, a.StatusCode == http.StatusForbidden:
		return fmt.Errorf("BMC %s: %w: %s", r.b.Address, ErrDenied, a.Status)
	case a.StatusCode >= 500:
		return fmt.Errorf("BMC %s: %w: %s: %s", r.b.Address, ErrUnreachable, a.Status, words(text))
	case a.StatusCode >= 300:
		return fmt.Errorf("BMC %s: %w: %s: %s", r.b.Address, ErrRefused, a.Status, words(text))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("BMC %s: %w: what it says is no Redfish: %w", r.b.Address, ErrRefused, err)
	}
	return nil
}

// words are what a BMC says about an error.
func words(text []byte) string {
	var e struct {
		Error struct {
			Message  string                     `json:"message"`
			Extended []struct{ Message string } `json:"@Message.ExtendedInfo"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &e) != nil {
		return "no reason given"
	}
	all := []string{}
	for _, x := range e.Error.Extended {
		all = append(all, x.Message)
	}
	if len(all) == 0 {
		all = append(all, e.Error.Message)
	}
	return strings.Join(all, " ")
}
