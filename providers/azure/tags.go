package azure

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/provisionhq/provision/providers"
)

// Tags of ours beyond the contract's. They are Azure's memory of what cannot be read off the things themselves.
const (
	ownTags    = "provision.sh/azure."
	networkTag = ownTags + "network"    // on parts of a machine or a balancer: the network's ID
	zonesTag   = ownTags + "zones"      // on a network: its zones
	natTag     = ownTags + "nat"        // on a network: its kind of NAT
	subnetTag  = ownTags + "subnet"     // on a network in a subnet that was there already: the subnet
	rangeTag   = ownTags + "range"      // on a network: its range
	imageTag   = ownTags + "image"      // on a machine: what its image was asked for as
	userTag    = ownTags + "user"       // on a machine: who may log in
	hostKeyTag = ownTags + "host-key"   // on a machine: its SSH host key
	volumeTag  = ownTags + "volume"     // on a snapshot: the volume's ID
	copyTag    = ownTags + "snapshot"   // on a volume: the ID of the snapshot that it is a copy of
	partKind   = providers.Noun("part") // kind of what is part of something
)

// encode is a tag's name as Azure can have it: without < > % & \ ? /. A slash becomes a colon; a colon, a tilde and the others
// become a tilde and two hexadecimal digits. https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources
func encode(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case c == '/':
			b.WriteByte(':')
		case strings.IndexByte(`<>%&\?:~`, c) >= 0 || c < ' ':
			b.WriteString("~" + string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15]))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decode is the name that encode made it of. What encode would not make, somebody else wrote: it is read as well as it can be.
func decode(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == ':':
			b.WriteByte('/')
		case c == '~' && i+2 < len(name):
			n, err := strconv.ParseUint(name[i+1:i+3], 16, 8)
			if err != nil {
				b.WriteByte(c)
				continue
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// read makes a map of Azure's tags.
func read(tags map[string]*string) map[string]string {
	m := make(map[string]string, len(tags))
	for k, v := range tags {
		m[decode(k)] = val(v)
	}
	return m
}

// written makes Azure's tags of a map.
func written(tags map[string]string) map[string]*string {
	m := make(map[string]*string, len(tags))
	for k, v := range tags {
		m[encode(k)] = ptr(v)
	}
	return m
}

// label is all tags that a thing of the spec's key bears.
func label(n providers.Noun, k providers.Key, generation string, tags, own map[string]string) map[string]string {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, own)
	all[providers.OwnerTag], all[providers.KindTag], all[providers.NameTag], all[providers.GenerationTag] = string(k.Owner), string(n), k.Name, generation
	return all
}

// foreign says whether a tag is the user's, not ours or Azure's.
func foreign(key string) bool {
	switch key {
	case providers.OwnerTag, providers.KindTag, providers.NameTag, providers.GenerationTag, providers.PoolTag:
		return false
	}
	return !strings.HasPrefix(key, ownTags) && !strings.HasPrefix(key, "hidden-")
}

// meta is what tags say of a thing.
func meta(i id, tags map[string]string) providers.Meta {
	i.generation = tags[providers.GenerationTag]
	m := providers.Meta{ID: i.ID(), Owner: providers.Owner(tags[providers.OwnerTag]), Name: tags[providers.NameTag]}
	for k, v := range tags {
		if foreign(k) {
			if m.Tags == nil {
				m.Tags = map[string]string{}
			}
			m.Tags[k] = v
		}
	}
	return m
}

// belongs says whether tags are those of an owner's thing of the kind.
func belongs(tags map[string]string, n providers.Noun, o providers.Owner) bool {
	return tags[providers.KindTag] == string(n) && tags[providers.OwnerTag] == string(o)
}

// checkTags returns why the vendor would not have the tags.
func checkTags(tags map[string]string) error {
	seen := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		v, low := tags[k], strings.ToLower(k)
		other, twice := seen[low]
		switch {
		case !foreign(low): // the engine has tags of its own, such as provision.sh/uid
			return fail(providers.Invalid, "tag %q: the name is reserved", k)
		case strings.HasPrefix(low, "microsoft") || strings.HasPrefix(low, "azure") || strings.HasPrefix(low, "windows"):
			return fail(providers.Invalid, "tag %q: Azure reserves names that begin with microsoft, azure or windows", k)
		case twice:
			return fail(providers.Invalid, "tags %q and %q: to Azure they are one, whatever the case of letters", other, k)
		case k == "" || len(encode(k)) > 512 || len(v) > 256:
			return fail(providers.Invalid, "tag %q: a name has up to 512 letters, a value up to 256", k)
		}
		seen[low] = k
	}
	if len(tags) > 35 {
		return fail(providers.Invalid, "%d tags: Azure has up to 50, of which provision needs 15", len(tags))
	}
	return nil
}

// retag makes the tags of a resource what they should be, in one call, if they are not. Own tags and Azure's that are not wanted
// stay.
func (p *Provider) retag(ctx context.Context, resource string, have, want map[string]string) error {
	all := maps.Clone(want)
	for k, v := range have {
		if _, ok := want[k]; !ok && !foreign(k) && k != providers.PoolTag {
			all[k] = v
		}
	}
	if maps.Equal(all, have) {
		return nil
	}
	return p.settled(ctx, func() error {
		_, err := p.tags.UpdateAtScope(ctx, resource, armresources.TagsPatchResource{
			Operation: ptr(armresources.TagsPatchOperationReplace), Properties: &armresources.Tags{Tags: written(all)}}, nil)
		return err
	})
}
