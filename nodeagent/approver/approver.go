// Package approver does on a control-plane node what Kubernetes leaves to a cluster's owner: it approves kubelets' serving
// certificates and invited machines' first client certificates after looking at each request, and deletes a bootstrap token
// when its node has joined.
package approver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/nodeagent/api"
	"github.com/provisionhq/provision/templates"
)

const (
	base    = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	serving = "kubernetes.io/kubelet-serving"
	joining = "kubernetes.io/kube-apiserver-client-kubelet"

	again = time.Second // before a lost watch is taken up again
	// How long a request that cannot be approved yet, or a node that has not appeared yet, is asked after.
	patience = 10 * time.Minute
)

// An Approver looks after certificate requests.
type Approver struct {
	API       *api.Client
	Forbidden Ranges // addresses that are no machine's: of pods and services
	Log       *slog.Logger

	mu   sync.Mutex
	busy map[string]bool // requests that are being looked after
}

// A Request is the part of a CertificateSigningRequest that is looked at.
type Request struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec struct {
		Request    []byte   `json:"request"` // PEM
		SignerName string   `json:"signerName"`
		Username   string   `json:"username"`
		Groups     []string `json:"groups"`
		Usages     []string `json:"usages"`
	} `json:"spec"`
	Status struct {
		Certificate []byte      `json:"certificate"`
		Conditions  []condition `json:"conditions"`
	} `json:"status"`
}

type condition struct {
	Type           string `json:"type"`
	Status         string `json:"status"`
	Reason         string `json:"reason"`
	Message        string `json:"message"`
	LastUpdateTime string `json:"lastUpdateTime,omitempty"`
}

// Run works until ctx ends. It is to be called once.
func (a *Approver) Run(ctx context.Context) {
	a.busy = map[string]bool{}
	var all sync.WaitGroup
	defer all.Wait()
	for ctx.Err() == nil {
		if err := a.follow(ctx, &all); err != nil && ctx.Err() == nil {
			a.Log.Debug("lost sight of certificate requests", "err", err)
		}
		sleep(ctx, again)
	}
}

// follow lists all requests and then watches them. It returns when the watch ends.
func (a *Approver) follow(ctx context.Context, all *sync.WaitGroup) error {
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []json.RawMessage
	}
	if err := a.API.Do(ctx, http.MethodGet, base, nil, &list); err != nil {
		return err
	}
	for _, raw := range list.Items {
		a.look(ctx, all, raw)
	}
	query := url.Values{"watch": {"1"}, "resourceVersion": {list.Metadata.ResourceVersion}, "timeoutSeconds": {"600"}}
	stream, err := a.API.Stream(ctx, base+"?"+query.Encode())
	if err != nil {
		return err
	}
	defer stream.Close()
	for d := json.NewDecoder(stream); ; {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if err := d.Decode(&event); err != nil {
			return err
		}
		if event.Type == "ERROR" {
			return fmt.Errorf("watch: %.200s", event.Object)
		}
		if event.Type != "DELETED" {
			a.look(ctx, all, event.Object)
		}
	}
}

// look starts to look after a request, if it needs that and nobody does already.
func (a *Approver) look(ctx context.Context, all *sync.WaitGroup, raw json.RawMessage) {
	var r Request
	if json.Unmarshal(raw, &r) != nil {
		return
	}
	var work func(context.Context, Request, json.RawMessage) error
	token, bootstrapped := strings.CutPrefix(r.Spec.Username, "system:bootstrap:")
	switch {
	case r.Spec.SignerName == serving && len(r.Status.Conditions) == 0:
		work = a.approve
	case r.Spec.SignerName == joining && bootstrapped && len(r.Status.Conditions) == 0 && slices.Contains(r.Spec.Groups, templates.InvitedGroup):
		work = a.admit
	case r.Spec.SignerName == joining && bootstrapped && len(r.Status.Certificate) > 0:
		work = func(ctx context.Context, r Request, _ json.RawMessage) error { return a.retire(ctx, r, token) }
	default:
		return
	}
	name := r.Metadata.Name
	if len(r.Status.Certificate) > 0 {
		name += " issued" // whoever approved it may be about to be done
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy[name] {
		return
	}
	a.busy[name] = true
	all.Go(func() {
		a.persist(ctx, r, raw, work)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.busy, name)
	})
}

// errNever wraps why trying again is of no use.
var errNever = errors.New("refused")

// persist tries until the work is done, or is found impossible, or too much time has passed.
func (a *Approver) persist(ctx context.Context, r Request, raw json.RawMessage, work func(context.Context, Request, json.RawMessage) error) {
	begun := time.Now()
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		err := work(ctx, r, raw)
		if err == nil {
			return
		}
		if errors.Is(err, errNever) || time.Since(begun) > patience {
			a.Log.Warn("left a certificate request alone", "request", r.Metadata.Name, "of", r.Spec.Username, "why", err)
			return
		}
		sleep(ctx, pause)
		pause = min(2*pause, 10*time.Second)
	}
}

// approve approves a kubelet's serving certificate if it is for the names and addresses of that kubelet's node only.
func (a *Approver) approve(ctx context.Context, r Request, raw json.RawMessage) error {
	var nodes nodeList
	if err := a.API.Do(ctx, http.MethodGet, "/api/v1/nodes", nil, &nodes); err != nil {
		return err
	}
	if err := check(r, nodes, a.Forbidden); err != nil {
		return err
	}
	return a.sign(ctx, r, raw, "the names and addresses are the node's own")
}

// sign approves a request.
func (a *Approver) sign(ctx context.Context, r Request, raw json.RawMessage, why string) error {
	body, err := approved(raw, why)
	if err != nil {
		return err
	}
	err = a.API.Do(ctx, http.MethodPut, base+"/"+url.PathEscape(r.Metadata.Name)+"/approval", body, nil)
	if api.IsStatus(err, http.StatusConflict, http.StatusNotFound) {
		return nil // another control-plane node's agent was first; if not, the watch shows the request again
	}
	if err == nil {
		a.Log.Info("approved a certificate", "signer", r.Spec.SignerName, "request", r.Metadata.Name, "of", r.Spec.Username)
	}
	return err
}

// approved returns the request as it came, with our approval added.
func approved(raw json.RawMessage, why string) ([]byte, error) {
	var whole map[string]any
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, err
	}
	whole["apiVersion"], whole["kind"] = "certificates.k8s.io/v1", "CertificateSigningRequest"
	status, _ := whole["status"].(map[string]any)
	if status == nil {
		status = map[string]any{}
		whole["status"] = status
	}
	status["conditions"] = []condition{{
		Type: "Approved", Status: "True", Reason: "NodeAgentApproved",
		Message:        why,
		LastUpdateTime: time.Now().UTC().Format(time.RFC3339),
	}}
	return json.Marshal(whole)
}

// retire deletes a bootstrap token once the node that used it is there. Not before: the node fetches its certificate with
// the token.
func (a *Approver) retire(ctx context.Context, r Request, token string) error {
	node, err := nodeName(r)
	if err != nil {
		return err
	}
	err = a.API.Do(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(node), nil, nil)
	if api.IsStatus(err, http.StatusNotFound) {
		return fmt.Errorf("node %s is not there yet", node)
	} else if err != nil {
		return err
	}
	err = a.API.Do(ctx, http.MethodDelete, "/api/v1/namespaces/kube-system/secrets/bootstrap-token-"+url.PathEscape(token), nil, nil)
	if api.IsStatus(err, http.StatusNotFound) {
		return nil
	}
	if err == nil {
		a.Log.Info("deleted the token of a node that has joined", "node", node)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
