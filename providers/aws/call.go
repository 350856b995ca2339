package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

// filters are EC2's, from names and values in turn.
func filters(pairs ...string) (all []types.Filter) {
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, types.Filter{Name: ptr(pairs[i]), Values: []string{pairs[i+1]}})
	}
	return all
}

// owned are filters for the things of an owner, or of one name.
func owned(n providers.Noun, k providers.Key) []types.Filter {
	f := filters("tag:"+providers.OwnerTag, string(k.Owner), "tag:"+providers.KindTag, string(n))
	if k.Name != "" {
		f = append(f, filters("tag:"+providers.NameTag, k.Name)...)
	}
	return f
}

// isID says whether s has the form of an ID that EC2 gives: vpc-0123456789abcdef0.
func isID(s, prefix string) bool {
	return regexp.MustCompile(`^` + prefix + `-[0-9a-f]{8,17}$`).MatchString(s)
}

// pager is what the SDK's paginators have in common.
type pager[O, F any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...F) (*O, error)
}

// collect returns what is on all pages.
func collect[O, F, T any](ctx context.Context, p pager[O, F], of func(*O) []T) (all []T, err error) {
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
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

// soon makes a call again as long as AWS does not know yet what it is about, which is there: reads and calls lag behind.
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

// surely looks for what a call that got no answer may have made, until AWS would show it.
func (p *Provider) surely(ctx context.Context, n providers.Noun, k providers.Key, look func() (found bool, err error)) error {
	var d time.Duration
	for {
		found, err := look()
		if found || err != nil || !p.made.doubtful(n, k, p.o.Lag) {
			return err
		}
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// tokenFor is the client token of the call that makes a thing, or a part of it, for the so-and-so-many-th time.
func tokenFor(n providers.Noun, k providers.Key, generation int, part string) *string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(n), string(k.Owner), k.Name, strconv.Itoa(generation), part}, "\x00")))
	return ptr("provision-" + hex.EncodeToString(sum[:20]))
}

// mine returns why an Update of the thing with a spec of that key must not be. find looks for another of the key.
func mine(m providers.Meta, k providers.Key, find func() (providers.ID, error)) error {
	if m.Owner != "" && m.Owner != k.Owner || m.Name != "" && m.Name != k.Name {
		return fail(providers.Invalid, "it is %s", providers.Key{Owner: m.Owner, Name: m.Name})
	}
	if m.Owner != "" && m.Name != "" {
		return nil
	}
	other, err := find()
	if err == nil && other != "" && other != m.ID {
		return fail(providers.Exists, "%s is %s now", k, other)
	}
	return err
}
