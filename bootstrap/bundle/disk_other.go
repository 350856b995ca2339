//go:build !unix

package bundle

import "errors"

// free is not known here: bundles are unpacked on nodes, and read elsewhere.
func free(string) (int64, error) { return 0, errors.ErrUnsupported }
