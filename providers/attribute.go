package providers

import (
	"fmt"
	"maps"
	"slices"
)

// An UnknownAttributeError says that a vendor's block has an attribute that the vendor does not know. It wraps Invalid.
type UnknownAttributeError struct {
	Vendor, Attribute string
	Known             []string // all that it knows
}

// Error names the attribute.
func (e *UnknownAttributeError) Error() string {
	return fmt.Sprintf("provider %s: it has no attribute %q", e.Vendor, e.Attribute)
}

// Unwrap returns Invalid.
func (e *UnknownAttributeError) Unwrap() error { return Invalid }

// An AttributeError says that the value of an attribute of a vendor's block is not one that the vendor has, or could have: whoever
// knows the block's file shows the attribute's line. It wraps Invalid.
type AttributeError struct {
	Attribute string
	Text      string // what is wrong, and what would be right
}

// Error says it as other errors that are Invalid do.
func (e *AttributeError) Error() string { return string(Invalid) + ": " + e.Text }

// Unwrap returns Invalid.
func (*AttributeError) Unwrap() error { return Invalid }

// BadAttribute returns an AttributeError.
func BadAttribute(attribute, format string, args ...any) error {
	return &AttributeError{attribute, fmt.Sprintf(format, args...)}
}

// KnownAttributes refuses attributes of a vendor's block that are not among the names, with an UnknownAttributeError.
func KnownAttributes(vendor string, attributes map[string]any, names ...string) error {
	for _, a := range slices.Sorted(maps.Keys(attributes)) {
		if !slices.Contains(names, a) {
			return &UnknownAttributeError{vendor, a, names}
		}
	}
	return nil
}

// TextAttribute returns a string attribute of a vendor's block, "" if it is not there; Invalid if it is of another type.
func TextAttribute(vendor string, attributes map[string]any, name string) (string, error) {
	v, ok := attributes[name]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("provider %s: %w: %s must be a string", vendor, Invalid, name)
	}
	return s, nil
}
