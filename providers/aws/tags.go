package aws

import (
	"context"
	"maps"
	"slices"
	"strings"

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
