package csi

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// label is a DNS label, which is what the contract's names are.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// nameOf is the contract's name for CSI's, which may have 128 letters of all kinds. What Kubernetes' sidecars make, a prefix and
// a UUID, stays as it is.
func nameOf(name string) string {
	if label.MatchString(name) {
		return name
	}
	return "csi-" + digest(name)
}

// cloneName is the name of the snapshot by which a volume becomes a copy of another: the same for each try.
func cloneName(volume string) string { return "clone-" + digest(volume) }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
