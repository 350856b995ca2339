package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

// Tags of ours beyond the contract's. They are AWS's memory of what cannot be read off the things themselves.
const (
	ownTags    = "provision.sh/aws."
	networkTag = ownTags + "network"  // on all that is part of a network or stands in one: the network's ID
	partTag    = ownTags + "part"     // on parts of a network: which
	zonesTag   = ownTags + "zones"    // on a network: its zones
	natTag     = ownTags + "nat"      // on a network: its kind of NAT
	imageTag   = ownTags + "image"    // on a machine: what its image was asked for as
	diskTag    = ownTags + "disk"     // on a machine: GiB of its root disk
	userTag    = ownTags + "user"     // on a machine: who may log in
	hostKeyTag = ownTags + "host-key" // on a machine: its SSH host key, once it has one
	titleTag   = "Name"               // what the console shows
)

// label is all tags that a thing of the spec's key bears.
func label(n providers.Noun, k providers.Key, tags map[string]string, own map[string]string) map[string]string {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	if _, ok := all[titleTag]; !ok {
		all[titleTag] = k.Name
	}
	maps.Copy(all, own)
	all[providers.OwnerTag], all[providers.KindTag], all[providers.NameTag] = string(k.Owner), string(n), k.Name
	return all
}

// foreign says whether a tag is the user's, not ours or AWS's.
func foreign(key, value, name string) bool {
	switch key {
	case providers.OwnerTag, providers.KindTag, providers.NameTag, providers.GenerationTag, providers.PoolTag:
		return false
	case titleTag:
		return value != name
	}
	return !strings.HasPrefix(key, ownTags) && !strings.HasPrefix(key, "aws:")
}

// meta is what tags say of a thing.
func meta(id string, tags map[string]string) providers.Meta {
	m := providers.Meta{ID: providers.ID(id), Owner: providers.Owner(tags[providers.OwnerTag]), Name: tags[providers.NameTag]}
	for k, v := range tags {
		if foreign(k, v, m.Name) && (k != titleTag || m.Name != "") {
			if m.Tags == nil {
				m.Tags = map[string]string{}
			}
			m.Tags[k] = v
		}
	}
	return m
}

// read makes a map of EC2's tags.
func read(tags []types.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

// written makes EC2's tags of a map, sorted, so that a request made again is the same.
func written(tags map[string]string) (all []types.Tag) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, types.Tag{Key: ptr(k), Value: ptr(tags[k])})
	}
	return all
}

// specified are the tags that a thing gets in the call that creates it.
func specified(of types.ResourceType, tags map[string]string) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: of, Tags: written(tags)}}
}

// checkTags returns why the vendor would not have the tags.
func checkTags(tags map[string]string) error {
	for k, v := range tags {
		switch {
		case strings.HasPrefix(k, "aws:") || strings.HasPrefix(k, ownTags) || !foreign(k, v, "\x00"):
			return fail(providers.Invalid, "tag %q: the name is reserved", k)
		case k == "" || len(k) > 128 || len(v) > 256:
			return fail(providers.Invalid, "tag %q: a name has up to 128 letters, a value up to 256", k)
		}
	}
	return nil
}

// differ returns what to set and what to take away to come from one set of tags to the other. Own tags and AWS's that are not
// wanted stay.
func differ(have, want map[string]string, name string) (set map[string]string, drop []string) {
	set = map[string]string{}
	for k, v := range want {
		if was, ok := have[k]; !ok || was != v {
			set[k] = v
		}
	}
	for k, v := range have {
		if _, ok := want[k]; !ok && (foreign(k, v, name) || k == providers.PoolTag) {
			drop = append(drop, k)
		}
	}
	slices.Sort(drop)
	return set, drop
}

// retag makes the tags of EC2's thing what they should be, if they are not.
func (p *Provider) retag(ctx context.Context, id string, have, want map[string]string) error {
	set, drop := differ(have, want, want[providers.NameTag])
	if len(set) > 0 {
		if _, err := p.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: written(set)}); err != nil {
			return err
		}
	}
	if len(drop) == 0 {
		return nil
	}
	in := &ec2.DeleteTagsInput{Resources: []string{id}}
	for _, k := range drop {
		in.Tags = append(in.Tags, types.Tag{Key: ptr(k)})
	}
	_, err := p.ec2.DeleteTags(ctx, in)
	return err
}

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

// tokenFor is the client token of the call that makes a thing, or a part of it, for the so-and-so-many-th time.
func tokenFor(n providers.Noun, k providers.Key, generation int, part string) *string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(n), string(k.Owner), k.Name, strconv.Itoa(generation), part}, "\x00")))
	return ptr("provision-" + hex.EncodeToString(sum[:20]))
}

// keys lets one call at a time work on the thing of a key.
type keys struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits for its turn or the end of the context.
func (k *keys) lock(ctx context.Context, n providers.Noun, what string) (unlock func(), err error) {
	key := string(n) + " " + what
	for {
		k.mu.Lock()
		if k.held == nil {
			k.held = map[string]chan struct{}{}
		}
		busy, ok := k.held[key]
		if !ok {
			mine := make(chan struct{})
			k.held[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				defer k.mu.Unlock()
				delete(k.held, key)
				close(mine)
			}, ctx.Err()
		}
		k.mu.Unlock()
		select {
		case <-ctx.Done():
			return func() {}, ctx.Err()
		case <-busy:
		}
	}
}

// memory is what this process made lately: AWS may not list it yet.
type memory struct {
	mu  sync.Mutex
	ids map[string]remembered
	gen map[string]int
}

type remembered struct {
	id string
	at time.Time
}

func noted(n providers.Noun, k providers.Key) string { return fmt.Sprintf("%s %s", n, k) }

// note remembers the ID of what was made.
func (m *memory) note(n providers.Noun, k providers.Key, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil {
		m.ids = map[string]remembered{}
	}
	m.ids[noted(n, k)] = remembered{id, time.Now()}
}

// recent returns the ID of what was made within the time; "" if there is none.
func (m *memory) recent(n providers.Noun, k providers.Key, within time.Duration) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.ids[noted(n, k)]; ok && time.Since(r.at) < within {
		return r.id
	}
	return ""
}

// drop forgets what is gone, and counts that it was there.
func (m *memory) drop(n providers.Noun, k providers.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ids, noted(n, k))
	if m.gen == nil {
		m.gen = map[string]int{}
	}
	m.gen[noted(n, k)]++
}

// generation is how often the thing was deleted in this process, plus one.
func (m *memory) generation(n providers.Noun, k providers.Key) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gen[noted(n, k)] + 1
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
