package config

import (
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// A BlockName names a block inside a provider's block: host "a". The label may be empty.
type BlockName struct{ Type, Label string }

// ErrNoBlock says that a file has no block of that name to write into.
var ErrNoBlock = errors.New("no such block")

// SetText returns the file's text with an attribute of a block inside a provider's block set, be that block in the provider's
// or at the top of a file of its own. All else stays as it is, comments too. ErrNoBlock if there is none or more than one.
func SetText(src []byte, block BlockName, attribute, value string) ([]byte, error) {
	f, hds := hclwrite.ParseConfig(src, "", hcl.InitialPos)
	if hds.HasErrors() {
		return nil, hds
	}
	found := named(f.Body(), block)
	for _, b := range f.Body().Blocks() {
		if b.Type() == "provider" {
			found = append(found, named(b.Body(), block)...)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%w: %s %q is there %d times", ErrNoBlock, block.Type, block.Label, len(found))
	}
	found[0].Body().SetAttributeValue(attribute, cty.StringVal(value))
	return hclwrite.Format(f.Bytes()), nil
}

func named(b *hclwrite.Body, name BlockName) []*hclwrite.Block {
	var found []*hclwrite.Block
	for _, n := range b.Blocks() {
		label := ""
		if l := n.Labels(); len(l) > 0 {
			label = l[0]
		}
		if n.Type() == name.Type && label == name.Label {
			found = append(found, n)
		}
	}
	return found
}
