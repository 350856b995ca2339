package azure

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/provisionhq/provision/providers"
)

// An id is what is in an ID of ours: the resource group, the name in it (none for networks) and the generation.
type id struct{ group, name, generation string }

// ID is it as text. A thing whose generation somebody took away has 0.
func (i id) ID() providers.ID {
	if i.generation == "" {
		i.generation = "0"
	}
	if i.name == "" {
		return providers.ID(i.group + "/" + i.generation)
	}
	return providers.ID(i.group + "/" + i.name + "/" + i.generation)
}

// parse reads an ID; NotFound if it is none of ours, as there is no such thing then.
func parse(noun providers.Noun, text providers.ID) (i id, err error) {
	form := regexp.MustCompile(`^(provision_[a-z0-9._-]{1,79})/(?:([a-z0-9-]{1,63})/)?([0-9a-f]{1,16})$`)
	m := form.FindStringSubmatch(string(text))
	if m == nil || (m[2] == "") != (noun == providers.NetworkNoun) {
		return i, fail(providers.NotFound, "%q is not the ID of a %s", text, noun)
	}
	return id{m[1], m[2], m[3]}, nil
}

// fits says whether a thing of these tags is the one of the ID, as far as its tags tell.
func (i id) fits(tags map[string]string) bool {
	g := tags[providers.GenerationTag]
	return g == "" || g == i.generation
}

// fresh is a generation that no other thing has.
func fresh() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// groupOf is the name of an owner's resource group. Owners and names are DNS labels, so that "_" and "." keep them apart. Azure
// has up to 90 letters: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
func groupOf(o providers.Owner, part string) string {
	name := "provision_" + string(o) + part
	if len(name) <= 80 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:64] + "." + hex.EncodeToString(sum[:7])
}

// networkGroup is the resource group of a network.
func networkGroup(k providers.Key) string { return groupOf(k.Owner, "_"+k.Name) }

// storageGroup is the resource group of an owner's volumes and snapshots.
func storageGroup(o providers.Owner) string { return groupOf(o, ".storage") }

// scope is the resource ID of a resource group.
func (p *Provider) scope(group string) string {
	return "/subscriptions/" + p.o.Subscription + "/resourceGroups/" + group
}

// resource is the resource ID of something in a group, of a type such as "Microsoft.Compute/disks".
func (p *Provider) resource(group, kind, name string) string {
	return p.scope(group) + "/providers/" + kind + "/" + name
}

// part returns what follows the word in a resource ID: part(id, "resourceGroups"). Azure does not keep the case of letters.
func part(resource, word string) string {
	words := strings.Split(resource, "/")
	for i := 0; i+1 < len(words); i++ {
		if strings.EqualFold(words[i], word) {
			return words[i+1]
		}
	}
	return ""
}

// last is the name at the end of a resource ID.
func last(resource string) string { return resource[strings.LastIndex(resource, "/")+1:] }

// done waits for the end of an operation that was begun.
func done[T any](ctx context.Context, p *Provider, poller *runtime.Poller[T], err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Patience, errPatience)
	defer cancel()
	r, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: p.o.Pace})
	if err != nil && context.Cause(ctx) == errPatience {
		err = fail(providers.Unavailable, "the operation is not at its end after %s", p.o.Patience)
	}
	return r, err
}

// collect returns what is on all pages.
func collect[O, T any](ctx context.Context, pages *runtime.Pager[O], of func(O) []*T) (all []*T, err error) {
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, of(page)...)
	}
	return all, nil
}

// pause waits, a little longer each time.
func (p *Provider) pause(ctx context.Context, d *time.Duration) error {
	if *d == 0 {
		*d = p.o.Pace
	} else {
		*d = min(*d*3/2, 10*p.o.Pace)
	}
	t := time.NewTimer(*d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// wait looks until it is done, the patience ends or a look fails. what is said when it takes too long.
func (p *Provider) wait(ctx context.Context, what string, done func() (bool, error)) error {
	var d time.Duration
	for end := time.Now().Add(p.o.Patience); ; {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fail(providers.Unavailable, "%s after %s", what, p.o.Patience)
		}
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// soon makes a call again as long as Azure does not know yet what it is about, which is there: reads lag behind.
func (p *Provider) soon(ctx context.Context, call func() error) error {
	var d time.Duration
	for end := time.Now().Add(p.o.Lag); ; {
		err := call()
		if !gone(err) || time.Now().After(end) {
			return err
		}
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// known makes a look that may find nothing; it looks again as long as Azure may not show what this process made lately.
func (p *Provider) known(ctx context.Context, n providers.Noun, k providers.Key, look func() error) error {
	if p.made.recent(n, k, p.o.Lag) == "" {
		return look()
	}
	return p.soon(ctx, look)
}

// settled makes a change again as long as Azure is busy with another one of the same thing.
func (p *Provider) settled(ctx context.Context, change func() error) error {
	return p.wait(ctx, "Azure is busy with another change", func() (bool, error) {
		err := change()
		if is(err, "AnotherOperationInProgress", "RetryableError", "ReferencedResourceNotProvisioned", "ResourceGroupBeingDeleted", "NicReservedForAnotherVm") {
			return false, nil
		}
		return true, err
	})
}

// mine returns why an Update of the thing with a spec of that key must not be.
func mine(m providers.Meta, k providers.Key) error {
	if m.Owner != "" && m.Owner != k.Owner || m.Name != "" && m.Name != k.Name {
		return fail(providers.Invalid, "it is %s", providers.Key{Owner: m.Owner, Name: m.Name})
	}
	return nil
}

// byName compares two objects by name.
func byName[O providers.Identified](a, b O) int {
	return strings.Compare(a.GetMeta().Name+"\x00"+string(a.GetMeta().ID), b.GetMeta().Name+"\x00"+string(b.GetMeta().ID))
}
