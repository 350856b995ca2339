package gcp

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// Tags of ours beyond the contract's. They are Google's memory of what cannot be read off the things themselves.
const (
	ownTags    = "provision.sh/gcp."
	networkTag = ownTags + "network"  // on what stands in a network: the network's ID
	partTag    = ownTags + "part"     // on parts of a network: which
	zonesTag   = ownTags + "zones"    // on a network: its zones
	natTag     = ownTags + "nat"      // on a network: its kind of NAT
	rulesTag   = ownTags + "rules"    // on a network's rule for nodes: how many rules let something in
	ruleTag    = ownTags + "rule"     // on a firewall rule that lets something in: which it is
	imageTag   = ownTags + "image"    // on a machine: what its image was asked for as
	userTag    = ownTags + "user"     // on a machine: who may log in
	sideTag    = ownTags + "internal" // on a balancer: whether it is reached from its network only
	portsTag   = ownTags + "ports"    // on a balancer's firewall rule: its ports
	sourcesTag = ownTags + "sources"  // on a balancer's firewall rule: who may connect, if that is said
)

// partKind is the kind of what is part of an object.
const partKind = "part"

// A ref is where a thing is: a zone, a region or "networks", "firewalls", "snapshots"; its name there; and Google's number of it.
type ref struct {
	place, name string
	num         uint64
}

// id is the contract's ID of the thing.
func (r ref) id() providers.ID {
	return providers.ID(r.place + "/" + r.name + "/" + strconv.FormatUint(r.num, 10))
}

// refOf reads an ID; NotFound if it has not the form of one.
func refOf(n providers.Noun, id providers.ID) (r ref, err error) {
	parts := strings.Split(string(id), "/")
	if len(parts) == 3 && nameForm.MatchString(parts[0]) && nameForm.MatchString(parts[1]) {
		r = ref{place: parts[0], name: parts[1]}
		if r.num, err = strconv.ParseUint(parts[2], 10, 64); err == nil && r.num > 0 {
			return r, nil
		}
	}
	return ref{}, fail(providers.NotFound, "%q is not the ID of a %s", id, n)
}

// vendorName is the name at Google of a thing, or of a part of it: readable at its beginning, unique by its end.
func vendorName(n providers.Noun, k providers.Key, part string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(n), string(k.Owner), k.Name, part}, "\x00")))
	name := k.Name
	if name != string(k.Owner) && !strings.HasPrefix(name, string(k.Owner)+"-") {
		name = string(k.Owner) + "-" + name
	}
	if part != "" {
		name += "-" + regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(part, "-")
	}
	if name[0] < 'a' || name[0] > 'z' {
		name = "p" + name
	}
	return strings.TrimRight(name[:min(len(name), 54)], "-") + "-" + hex.EncodeToString(sum[:4])
}

// last is the end of a URL: the name of what it leads to.
func last(url string) string { return url[strings.LastIndex(url, "/")+1:] }

// label is all tags that a thing of the spec's key bears.
func label(n providers.Noun, k providers.Key, tags map[string]string, own map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, tags)
	maps.Copy(all, own)
	all[providers.OwnerTag], all[providers.KindTag], all[providers.NameTag] = string(k.Owner), string(n), k.Name
	return all
}

// foreign says whether a tag is the user's, not ours.
func foreign(key string) bool {
	switch key {
	case providers.OwnerTag, providers.KindTag, providers.NameTag, providers.GenerationTag, providers.PoolTag:
		return false
	}
	return !strings.HasPrefix(key, ownTags)
}

// meta is what tags say of a thing.
func meta(r ref, tags map[string]string) providers.Meta {
	m := providers.Meta{ID: r.id(), Owner: providers.Owner(tags[providers.OwnerTag]), Name: tags[providers.NameTag]}
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

// keyOf is whose a thing is, by its tags.
func keyOf(tags map[string]string) providers.Key {
	return providers.Key{Owner: providers.Owner(tags[providers.OwnerTag]), Name: tags[providers.NameTag]}
}

// Labels at Google have small letters, digits, _ and -, at most 63, and a thing at most 64 of them:
// https://cloud.google.com/compute/docs/labeling-resources (from memory, not compared yet). So the contract's tags are labels of another name
// (provision.sh/owner is provision-owner), a user's tag is a label if it can be one, and the others are together, as JSON in
// base32, in as many labels as it takes.
const (
	tagPrefix   = "provision.sh/"
	labelPrefix = "provision-"
	morePrefix  = labelPrefix + "more-"
)

var (
	labelKey   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
	base32er   = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
)

// labelOf is the label that a tag is; false if it cannot be one.
func labelOf(tag, value string) (string, bool) {
	key := tag
	if rest, ours := strings.CutPrefix(tag, tagPrefix); ours {
		key = labelPrefix + rest
		if !slices.Contains([]string{"owner", "kind", "name", "pool", "generation"}, rest) {
			return "", false
		}
	} else if strings.HasPrefix(tag, labelPrefix) {
		return "", false
	}
	return key, labelKey.MatchString(key) && labelValue.MatchString(value)
}

// labels makes Google's labels of tags.
func labels(tags map[string]string) map[string]string {
	all, more := map[string]string{}, map[string]string{}
	for k, v := range tags {
		if l, ok := labelOf(k, v); ok {
			all[l] = v
		} else {
			more[k] = v
		}
	}
	if len(more) == 0 {
		return all
	}
	text, _ := json.Marshal(more) // its keys are sorted; a map of strings has no error
	code := base32er.EncodeToString(text)
	for i := 0; i*63 < len(code); i++ {
		all[fmt.Sprintf("%s%02d", morePrefix, i)] = code[i*63 : min(len(code), i*63+63)]
	}
	return all
}

// unlabel makes tags of Google's labels. Those that are ours and cannot be read are none.
func unlabel(labels map[string]string) map[string]string {
	all, code := map[string]string{}, ""
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		rest, ours := strings.CutPrefix(k, labelPrefix)
		switch {
		case strings.HasPrefix(k, morePrefix):
			code += labels[k]
		case ours:
			all[tagPrefix+rest] = labels[k]
		default:
			all[k] = labels[k]
		}
	}
	if text, err := base32er.DecodeString(code); err == nil && code != "" {
		more := map[string]string{}
		if json.Unmarshal(text, &more) == nil {
			maps.Copy(all, more)
		}
	}
	return all
}

// describe makes a description of tags, for what has no labels.
func describe(tags map[string]string) *string {
	text, _ := json.Marshal(tags)
	return ptr(string(text))
}

// described reads the tags in a description; nil if it is not ours.
func described(description string) map[string]string {
	var tags map[string]string
	if !strings.HasPrefix(description, "{") || json.Unmarshal([]byte(description), &tags) != nil {
		return nil
	}
	return tags
}

// longest is how long a description may be: https://cloud.google.com/compute/docs/reference/rest/v1/firewalls (and gcloud's help).
const longest = 2048

// checkTags returns why the vendor would not have the tags.
func checkTags(n providers.Noun, tags map[string]string) error {
	for k := range tags {
		if k == "" || !foreign(k) || strings.HasPrefix(k, labelPrefix) || strings.HasPrefix(k, "goog") {
			return fail(providers.Invalid, "tag %q: the name is reserved", k)
		}
	}
	switch n {
	case providers.NetworkNoun:
		if len(*describe(tags)) > longest-512 {
			return fail(providers.Invalid, "the tags of a network are a description at Google and may have %d letters together", longest-512)
		}
	default:
		if len(labels(tags)) > 54 {
			return fail(providers.Invalid, "the tags are %d labels at Google, which takes 64, of which some are ours", len(labels(tags)))
		}
	}
	return nil
}

// retagged is what the tags of a thing become: the wanted ones, and own ones that are not spoken of.
func retagged(have, want map[string]string) map[string]string {
	all := maps.Clone(want)
	for k, v := range have {
		if _, ok := all[k]; !ok && strings.HasPrefix(k, ownTags) {
			all[k] = v
		}
	}
	return all
}

// filter is Google's, for the things of an owner.
func filter(n providers.Noun, o providers.Owner) *string {
	return ptr(fmt.Sprintf("(labels.%sowner = %q) (labels.%skind = %q)", labelPrefix, o, labelPrefix, n))
}
