package csi

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// after is how a token begins that says which name came last. So it holds when things come and go between two pages.
const after = "after:"

// page returns those of all, which are sorted by name, that come after what the token says, at most so many unless that is 0;
// and the token of the next page, "" if there is none.
func page[T any](all []T, name func(T) string, token string, most int) ([]T, string, error) {
	last, ok := strings.CutPrefix(token, after)
	switch {
	case token != "" && !ok:
		return nil, "", status.Errorf(codes.Aborted, "starting_token %q is none of this driver's", token)
	case most < 0:
		return nil, "", status.Error(codes.InvalidArgument, "max_entries is negative")
	}
	first := slices.IndexFunc(all, func(t T) bool { return name(t) > last })
	if first < 0 {
		return nil, "", nil
	}
	all = all[first:]
	if most == 0 || len(all) <= most {
		return all, "", nil
	}
	return all[:most], after + name(all[most-1]), nil
}
