package approver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/provisionhq/provision/nodeagent/api"
	"github.com/provisionhq/provision/templates"
)

// admit approves an invited machine's client certificate: for the name that its token is bound to, while there is no node of that name,
// and one request for each token.
func (a *Approver) admit(ctx context.Context, r Request, raw json.RawMessage) error {
	name, err := checkGuest(r)
	if err != nil {
		return err
	}
	var all struct{ Items []Request }
	if err := a.API.Do(ctx, http.MethodGet, base, nil, &all); err != nil {
		return err
	}
	for _, other := range all.Items {
		if other.Spec.Username == r.Spec.Username && other.Metadata.Name != r.Metadata.Name && len(other.Status.Conditions) > 0 {
			return fmt.Errorf("%w: its token was used already, for request %s", errNever, other.Metadata.Name)
		}
	}
	err = a.API.Do(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(name), nil, nil)
	if err == nil {
		return fmt.Errorf("%w: there is a node %s already", errNever, name)
	} else if !api.IsStatus(err, http.StatusNotFound) {
		return err
	}
	return a.sign(ctx, r, raw, "the name is the one that the machine was invited as")
}

// checkGuest says why a request for a client certificate must not be approved, or whose it is.
func checkGuest(r Request) (string, error) {
	name, err := nodeName(r)
	if err != nil {
		return "", err
	}
	if !slices.Contains(r.Spec.Groups, templates.InvitedGroup+":"+name) {
		return "", fmt.Errorf("%w: it is for node %s, and its token is for another", errNever, name)
	}
	csr, err := parse(r)
	if err != nil {
		return "", err
	}
	if !slices.Equal(csr.Subject.Organization, []string{"system:nodes"}) {
		return "", fmt.Errorf("%w: it is for %s of %v", errNever, csr.Subject.CommonName, csr.Subject.Organization)
	}
	if len(csr.DNSNames)+len(csr.IPAddresses)+len(csr.URIs)+len(csr.EmailAddresses) > 0 {
		return "", fmt.Errorf("%w: it is for names or addresses too", errNever)
	}
	for _, u := range r.Spec.Usages {
		if !slices.Contains([]string{"digital signature", "key encipherment", "client auth"}, u) {
			return "", fmt.Errorf("%w: it is to be used for %s", errNever, u)
		}
	}
	return name, nil
}
