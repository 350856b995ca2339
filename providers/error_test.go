package providers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
)

// retried is the column "retried" of the table of kinds.
var retried = map[providers.Kind]bool{
	providers.NotFound:    false,
	providers.Exists:      false,
	providers.Conflict:    false,
	providers.Invalid:     false,
	providers.Denied:      false,
	providers.Quota:       false,
	providers.Capacity:    true,
	providers.Throttled:   true,
	providers.Unavailable: true,
	providers.Unsupported: false,
}

func TestEveryKindIsInTheTable(t *testing.T) {
	kinds := providers.Kinds()
	for _, k := range kinds {
		want, ok := retried[k]
		if !ok {
			t.Errorf("kind %q is not in the table of what is retried", k)
		}
		if got := k.Retryable(); got != want {
			t.Errorf("Kind(%q).Retryable() = %v, want %v", k, got, want)
		}
		if k == "" || k.Error() != string(k) {
			t.Errorf("Kind(%q).Error() = %q, want its own words", k, k.Error())
		}
	}
	for k := range retried {
		if !slices.Contains(kinds, k) {
			t.Errorf("kind %q is in the table but not in Kinds()", k)
		}
	}
	if len(kinds) != len(retried) {
		t.Errorf("Kinds() has %d kinds, the table %d", len(kinds), len(retried))
	}
	if providers.Kind("").Retryable() {
		t.Error("an error without a Kind must not be retried")
	}
}

func TestKindOf(t *testing.T) {
	plain := errors.New("no such host")
	for _, c := range []struct {
		name string
		err  error
		want providers.Kind
	}{
		{"nil", nil, ""},
		{"without a kind", plain, ""},
		{"the kind itself", providers.Quota, providers.Quota},
		{"wrapped beside the vendor's words", fmt.Errorf("run instance a: %w: %w", providers.Capacity, plain), providers.Capacity},
		{"wrapped twice", fmt.Errorf("machine a: %w", fmt.Errorf("get: %w", providers.NotFound)), providers.NotFound},
		{"joined", errors.Join(plain, providers.Denied), providers.Denied},
	} {
		if got := providers.KindOf(c.err); got != c.want {
			t.Errorf("%s: KindOf(%v) = %q, want %q", c.name, c.err, got, c.want)
		}
		if c.want != "" && !errors.Is(c.err, c.want) {
			t.Errorf("%s: errors.Is(%v, %q) = false", c.name, c.err, c.want)
		}
	}
}

func TestRetryAfterIsFoundBesideAKind(t *testing.T) {
	err := fmt.Errorf("describe: %w: %w", providers.Throttled, providers.RetryAfter{After: 3 * time.Second})
	var after providers.RetryAfter
	if !errors.As(err, &after) || after.After != 3*time.Second {
		t.Errorf("errors.As(%v) = %v, want 3s", err, after.After)
	}
	if got := providers.KindOf(err); got != providers.Throttled {
		t.Errorf("KindOf(%v) = %q, want throttled", err, got)
	}
}
